"""The only door to the desktop's keyring: the program `secret-tool`, where a secret service answers. Blocking.

Values go through pipes, never through arguments. Entries carry where this user's state is, so that two of them
(SBX_HOME) do not take each other's.
"""

import os
import secrets
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from sandboxfile.secrets.commands import CommandFlood, CommandTimeout, Ended, run_command
from sandboxfile.secrets.values import SecretError

PROGRAM = "secret-tool"
PACKAGE = "libsecret-tools"
_PROBE = 3.0  # seconds
_PATIENCE = 60.0  # a person may have to unlock it
_NOT_FOUND = 1  # its exit code, without a word


class Keyring:
    """One user's keyring, as this environment leads to it."""

    def __init__(self, environ: Mapping[str, str], state: Path) -> None:
        self._environ = dict(environ)
        self._attributes = ("application", "sandboxfile", "state", str(state), "name")

    def missing(self) -> str | None:
        """Why there is no keyring here, in a clause; None when one answers."""
        if shutil.which(PROGRAM, path=self._environ.get("PATH", os.defpath)) is None:
            return f"{PROGRAM} is not installed (package {PACKAGE})"
        try:
            ended = self._run("lookup", secrets.token_hex(8), timeout=_PROBE)
        except SecretError as exc:
            return exc.message
        return None if _is_empty(ended) else "no secret service answers on the session bus"

    def set(self, name: str, value: str) -> None:
        """Keep a value, and make sure that it can be had again. Raises SecretError."""
        label = f"--label=sandboxfile: {name}"
        ended = self._run("store", name, options=(label,), input=value.encode())
        if ended.code != 0:
            raise SecretError("the keyring did not take it", hint="is it locked?")
        if self.get(name) != value:  # too long for this program, most likely
            self.remove(name)
            raise SecretError("the keyring did not keep it as it is")

    def get(self, name: str) -> str | None:
        """The value; None when the keyring answers that it has none. Raises SecretError when it does not answer."""
        ended = self._run("lookup", name)
        if _is_empty(ended):
            return None
        if ended.code != 0:
            raise SecretError("the keyring does not answer", hint="is this the desktop session that it was kept in?")
        return ended.output.decode(errors="surrogateescape")

    def remove(self, name: str) -> None:
        """Forget a value; nothing when there is none. Raises SecretError."""
        ended = self._run("clear", name)
        if ended.code != 0 and not _is_empty(ended):
            raise SecretError("the keyring did not remove it", hint="is it locked?")

    def _run(
        self,
        verb: str,
        name: str,
        *,
        options: tuple[str, ...] = (),
        input: bytes | None = None,
        timeout: float = _PATIENCE,
    ) -> Ended:
        if not _has_bus(self._environ):  # the program would start a bus of its own
            raise SecretError("there is no session bus", hint="is this the desktop session of its user?")
        try:
            argv = (PROGRAM, verb, *options, *self._attributes, name)
            return run_command(argv, self._environ, timeout=timeout, input=input)
        except OSError as exc:
            raise SecretError(f"{PROGRAM} cannot be started: {exc.strerror}", hint=f"apt install {PACKAGE}") from None
        except CommandTimeout:
            raise SecretError(f"the keyring did not answer within {timeout:g} s", hint="is it locked?") from None
        except CommandFlood:
            raise SecretError("the keyring has a longer value than any secret") from None


def _is_empty(ended: Ended) -> bool:
    return ended.code == _NOT_FOUND and not ended.output and not ended.errors.strip()


def _has_bus(environ: Mapping[str, str]) -> bool:
    if environ.get("DBUS_SESSION_BUS_ADDRESS"):
        return True
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    try:
        return bool(runtime) and stat.S_ISSOCK((Path(runtime) / "bus").stat().st_mode)
    except OSError:
        return False
