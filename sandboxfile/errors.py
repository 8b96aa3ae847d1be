"""The world failed: one error tree. Each says what, why, what to do, and the command to run again when a child failed.

A user's wrong file is a `Diagnostic`, never an exception; our own mistake is any other exception.
Only `cli/main.py` turns these into exit codes.
"""

import shlex
from collections.abc import Sequence


class SandboxfileError(Exception):
    """Base of every failure that is not our own mistake.

    `hint` is what to do next. `command` is the exact child process that failed, for the user to run again;
    `output` is the end of what it printed.
    """

    def __init__(self, message: str, *, hint: str | None = None, command: Sequence[str] = (), output: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.command = tuple(command)
        self.output = output

    def details(self) -> list[str]:
        """What follows the message, a line each: hint, command, output."""
        lines = [f"hint: {self.hint}"] if self.hint else []
        if self.command:
            lines.append(f"command: {shlex.join(self.command)}")
        return lines + [f"  {line}" for line in self.output.rstrip().splitlines()[-20:]]


class HostError(SandboxfileError):
    """Something this host lacks or forbids: a tool, a right, space. `sbx doctor` shows all of them."""


class NotFoundError(SandboxfileError):
    """No such sandbox, file or object."""


class BusyError(SandboxfileError):
    """Somebody else holds the lock that this needs. Worth trying again."""


class StaleError(SandboxfileError):
    """What the plan was made from is no longer so. Plan again."""


class StateError(SandboxfileError):
    """A record on disk cannot be read, or is of a newer version than this program."""


class MachineError(SandboxfileError):
    """The virtual machine did not start, died, or refused a command."""


class GuestError(SandboxfileError):
    """The guest does not answer, or a command of ours failed inside it."""


class CommandError(SandboxfileError):
    """A command of the user's (setup) failed inside a sandbox. `exit_code` is its own."""

    def __init__(self, message: str, exit_code: int, *, hint: str | None = None, output: str = "") -> None:
        super().__init__(message, hint=hint, output=output)
        self.exit_code = exit_code


class BuildError(SandboxfileError):
    """An image, kernel or tool root could not be built; nothing half-done is left."""


class ControlError(SandboxfileError):
    """A supervisor hung up or speaks another version of the protocol."""


class PolicyError(SandboxfileError):
    """A network policy that this program cannot go by: nothing is decided by it, and the old one stays in force."""
