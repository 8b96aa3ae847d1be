"""Joins this process's terminal to a sandbox's agent, and says how to come back. `run` and `attach` do this.

Without a terminal there is nothing to come back to: the agent is then a command like any other, with these streams, and
ends with them.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio

from sandboxfile.agents.command import agent_command
from sandboxfile.cli import exits, terminal
from sandboxfile.cli.commands.exec import running
from sandboxfile.cli.commands.review import shown
from sandboxfile.cli.project import this_layout
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.text import harmless
from sandboxfile.control.client import Interrupted, attach_streams, exec_streams, request
from sandboxfile.control.messages import AttachAgent, CheckAgent, Detached, Exec, Exited
from sandboxfile.errors import SandboxfileError, StateError
from sandboxfile.host.review import compare
from sandboxfile.host.statedir import read_record
from sandboxfile.names import UNMANAGED, SandboxId

DETACH_KEYS = "ctrl-p,ctrl-q"
_FINDINGS_SHOWN = 10
_CONTROL = {f"ctrl-{chr(code + 96)}": code for code in range(1, 27)} | {
    f"ctrl-{mark}": code for mark, code in zip("@[\\]^_", (0, 27, 28, 29, 30, 31), strict=True)
}
Variables = Sequence[tuple[str, str]]


def attach(
    id: SandboxId,
    arguments: Sequence[str] = (),
    env: Variables = (),
    *,
    detach: bool = False,
    detach_keys: str = DETACH_KEYS,
    console: Console,
) -> int:
    """Be at the agent's terminal until its end (gives its exit code) or until somebody leaves (gives 0).

    Starts the agent when none runs; `arguments` and `env` are for one that starts. `detach`: only start it. Raises
    SandboxfileError.
    """
    control = running(id)
    message = AttachAgent(tuple(arguments), tuple(env), detach=detach, detach_keys=parse_detach_keys(detach_keys))
    if detach:
        anyio.run(partial(attach_streams, control, message))
        console.say(f"the agent of {id} runs; be at its terminal: {come_back(id)}")
        return exits.OK
    code = _stay(id, control, message, console) if has_terminal() else _execute(id, control, message)
    with suppress(OSError):  # the terminal may be gone
        _tell_what_to_review(id, console)
    return code


def _tell_what_to_review(id: SandboxId, console: Console) -> None:
    """What the agent has left that would run on this host, said while somebody thinks of it."""
    paths = this_layout().sandbox(id)
    try:
        workspaces = read_record(paths).spec.workspaces
    except StateError:  # it was deleted meanwhile
        return
    try:
        findings = compare(paths, workspaces)
    except StateError as exc:
        console.warn(exc.message)
        return
    if findings:
        console.warn(f"in its workspaces, {len(findings)} of what would run on this host changed: sbx review {id}")
        for finding in findings[:_FINDINGS_SHOWN]:
            console.say(f"  {finding.change}: {shown(finding)} ({finding.kind})")


def has_terminal() -> bool:
    """Whether standard input and output are a terminal."""
    return os.isatty(0) and os.isatty(1)


def come_back(id: SandboxId) -> str:
    """The command that joins a running agent."""
    return f"sbx {'run' if id.project == UNMANAGED else 'attach'} {id}"


def agent_of(id: SandboxId) -> str:
    """The agent that a sandbox is for, as its record says."""
    return read_record(this_layout().sandbox(id)).spec.agent


def parse_detach_keys(text: str) -> tuple[int, ...]:
    """The bytes for keys as Docker names them: `ctrl-p,ctrl-q`, `a`, `DEL`. Empty: none. Raises SandboxfileError."""
    return tuple(_key(word) for word in text.split(",")) if text else ()


def _key(word: str) -> int:
    if len(word) == 1 and word.isascii():
        return ord(word)
    code = 127 if word == "DEL" else _CONTROL.get(word.lower())
    if code is None:
        raise SandboxfileError(
            f"--detach-keys: there is no key {word!r}",
            hint="write single characters and ctrl-LETTER with commas between them, as in ctrl-p,ctrl-q",
        )
    return code


def _stay(id: SandboxId, control: Path, message: AttachAgent, console: Console) -> int:
    rows, columns = terminal.window(0)
    notes: list[str] = []
    message = replace(message, term=os.environ.get("TERM", ""), rows=rows, columns=columns)
    with terminal.flags_kept([0, 1, 2]), terminal.raw(0):
        outcome = anyio.run(partial(attach_streams, control, message, on_note=notes.append))
    with suppress(OSError):  # the terminal may be gone
        for note in notes:
            console.say(harmless(note))
    match outcome:
        case Exited(code):
            return code
        case Interrupted(number):
            return 128 + number
        case Detached(reason):
            with suppress(OSError):
                console.say(f"detached from {id} ({harmless(reason)}); its agent goes on: {come_back(id)}")
            return exits.OK


def _execute(id: SandboxId, control: Path, message: AttachAgent) -> int:
    """The agent as a command. A terminal as its input would be one that it cannot read as such: it gets none."""
    piped = not os.isatty(0)
    command = Exec(agent_command(agent_of(id), message.arguments), stdin=piped, env=message.env)
    anyio.run(partial(request, control, CheckAgent()))
    with ExitStack() as restored:
        restored.enter_context(terminal.flags_kept([0, 1, 2]))
        source = 0 if piped else restored.enter_context(Path(os.devnull).open("rb")).fileno()
        return anyio.run(partial(exec_streams, control, command, (source, 1, 2)))
