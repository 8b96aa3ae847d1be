"""Being at the agent's terminal, as the command line sees it: what is asked for, said, and given as exit code."""

import contextlib
import io
import os
from pathlib import Path

import pytest

from sandboxfile.cli import attaching
from sandboxfile.cli.attaching import attach, parse_detach_keys
from sandboxfile.cli.views.console import Console
from sandboxfile.control.client import Interrupted
from sandboxfile.control.messages import AttachAgent, CheckAgent, Detached, Done, Exec, Exited
from sandboxfile.errors import SandboxfileError
from sandboxfile.names import UNMANAGED, SandboxId

BOX, OWN = SandboxId("shop", "box"), SandboxId(UNMANAGED, "claude-shop")


class Supervisor:
    """Answers with one outcome; writes down what it was asked for."""

    def __init__(self, outcome):
        self.outcome = outcome
        self.asked = []
        self.notes = ()

    async def attach_streams(self, _path, message, _fds=(0, 1, 2), *, on_note=None):
        self.asked.append(message)
        for note in self.notes:
            on_note(note)
        return self.outcome

    async def request(self, _path, message):
        self.asked.append(message)
        return Done()

    async def exec_streams(self, _path, message, fds):
        self.asked.append(message)
        self.input = os.fstat(fds[0])
        return self.outcome.code


@pytest.fixture
def supervised(monkeypatch):
    """`supervised(outcome, terminal=...)`: the supervisor that every command talks to."""

    def make(outcome, terminal=True):
        supervisor = Supervisor(outcome)
        for name in ("attach_streams", "request", "exec_streams"):
            monkeypatch.setattr(attaching, name, getattr(supervisor, name))
        monkeypatch.setattr(attaching, "running", lambda _: Path("/control"))
        monkeypatch.setattr(attaching, "has_terminal", lambda: terminal)
        monkeypatch.setattr(attaching, "agent_of", lambda _: "claude")
        monkeypatch.setattr(attaching.terminal, "raw", lambda _: contextlib.nullcontext())
        monkeypatch.setattr(attaching.terminal, "flags_kept", lambda _: contextlib.nullcontext())
        monkeypatch.setattr(attaching.terminal, "window", lambda _: (31, 97))
        monkeypatch.setenv("TERM", "xterm-direct")
        return supervisor

    return make


@pytest.fixture
def console():
    return Console(io.StringIO(), io.StringIO(), io.StringIO())


def test_the_agent_gets_this_terminal_and_its_code_is_the_commands(supervised, console):
    supervisor = supervised(Exited(7))
    assert attach(BOX, ["--continue"], [("A", "1")], console=console) == 7
    assert supervisor.asked == [AttachAgent(("--continue",), (("A", "1"),), "xterm-direct", 31, 97, (16, 17))]
    assert console.err.getvalue() == ""


@pytest.mark.parametrize(("id", "command"), [(BOX, "sbx attach shop/box"), (OWN, "sbx run claude-shop")])
def test_who_leaves_is_told_how_to_come_back(id, command, supervised, console):
    supervised(Detached("attached elsewhere"))
    assert attach(id, console=console) == 0
    [line] = console.err.getvalue().splitlines()
    assert "attached elsewhere" in line
    assert line.endswith(command)


def test_notes_are_shown_and_drive_no_terminal(supervised, console):
    supervisor = supervised(Exited(0))
    supervisor.notes = ("a note", "\x1b]0;evil\x07")
    attach(BOX, console=console)
    assert "a note\n" in console.err.getvalue()
    assert "\x1b" not in console.err.getvalue()


def test_a_signal_is_the_exit_code_and_nothing_is_said(supervised, console):
    supervised(Interrupted(15))
    assert attach(BOX, console=console) == 143
    assert console.err.getvalue() == ""


def test_a_terminal_that_is_gone_is_told_nothing(supervised, console):
    class Gone(io.StringIO):
        def write(self, _):
            raise OSError(5, "Input/output error")

    console.err = Gone()
    supervised(Detached("its terminal is gone"))
    assert attach(BOX, console=console) == 0


def test_an_agent_can_be_started_with_nobody_there(supervised, console):
    supervisor = supervised(Detached(""), terminal=False)
    assert attach(BOX, ["-x"], detach=True, console=console) == 0
    assert supervisor.asked == [AttachAgent(("-x",), detach=True, detach_keys=(16, 17))]
    assert "sbx attach shop/box" in console.err.getvalue()


def test_without_a_terminal_the_agent_is_a_command_with_these_streams(supervised, console, monkeypatch):
    supervisor = supervised(Exited(3), terminal=False)
    monkeypatch.setattr(attaching.os, "isatty", lambda _: False)
    assert attach(BOX, ["-p", "x"], [("A", "1")], console=console) == 3
    command = Exec(("claude", "--dangerously-skip-permissions", "-p", "x"), stdin=True, env=(("A", "1"),))
    assert supervisor.asked == [CheckAgent(), command]


def test_a_terminal_that_is_only_the_input_is_not_given_to_a_command(supervised, console, monkeypatch):
    supervisor = supervised(Exited(0), terminal=False)
    monkeypatch.setattr(attaching.os, "isatty", lambda descriptor: descriptor == 0)
    attach(BOX, console=console)
    assert supervisor.asked[1].stdin is False
    assert os.path.samestat(supervisor.input, Path(os.devnull).stat())


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("ctrl-p,ctrl-q", (16, 17)),
        ("CTRL-A,d", (1, ord("d"))),
        ("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", (0, 27, 28, 29, 30, 31)),
        ("DEL", (127,)),
        ("", ()),
    ],
)
def test_keys_are_named_as_docker_names_them(text, keys):
    assert parse_detach_keys(text) == keys


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-1", "ctrl-pp", "p,,q", "é", "escape"])
def test_what_is_no_key_is_an_error(text):
    with pytest.raises(SandboxfileError, match="there is no key"):
        parse_detach_keys(text)
