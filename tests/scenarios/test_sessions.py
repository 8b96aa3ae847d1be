"""The agent's terminal: it outlives every client, shows who comes back what there was, and ends only by itself."""

import contextlib
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pexpect
import pytest

from sandboxfile.control.client import request
from sandboxfile.control.messages import AttachAgent, GetStatus, Message, Started, StatusReply
from sandboxfile.errors import ControlError
from sandboxfile.host.layout import Layout
from sandboxfile.names import SandboxId

pytestmark = pytest.mark.vm
DETACH = "\x10\x11"
PROMPT = r"\$ "


@dataclass
class Box:
    """A sandbox whose agent is a shell."""

    sbx: Any

    def attach(self, *options: str, dimensions: tuple[int, int] = (31, 97)) -> "pexpect.spawn[str]":
        return self.spawn("attach", *options, "box", dimensions=dimensions)

    def spawn(self, *arguments: str, dimensions: tuple[int, int] = (31, 97)) -> "pexpect.spawn[str]":
        return pexpect.spawn(
            self.sbx.argv[0],
            [*self.sbx.argv[1:], *arguments],
            env=self.sbx.environment,
            cwd=str(self.sbx.project),
            dimensions=dimensions,
            timeout=30,
            encoding="utf-8",
        )

    def ask(self, message: Message) -> Message:
        layout = Layout(self.sbx.state, self.sbx.cache, self.sbx.root / "run" / "sandboxfile")
        control = layout.sandbox(SandboxId("sessions", "box")).control
        return anyio.run(partial(request, control, message, timeout=60))

    def start(self, *arguments: str) -> None:
        """Start the agent with nobody there."""
        assert self.ask(AttachAgent(arguments, detach=True)) == Started()

    @property
    def session(self) -> str:
        reply = self.ask(GetStatus())
        assert isinstance(reply, StatusReply)
        return reply.machine.session

    @contextlib.contextmanager
    def running(self, command: str) -> Iterator[None]:
        """The agent runs a shell command, and is ended at the end."""
        self.start("-c", command)
        try:
            yield
        finally:
            self.sbx("exec", "box", "pkill", "-KILL", "-t", "pts/0")
            self.sbx.wait_for(lambda: self.session == "none")


@pytest.fixture
def box(module_sbx):
    module_sbx.write(
        "name: sessions\nsandboxes:\n  box: {workspaces: [.], resources: {cpus: 1, memory: 512MiB, disk: 4GiB}}\n"
    )
    module_sbx("up", "-y")
    return Box(module_sbx)


def left(child: "pexpect.spawn[str]") -> int | None:
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus


def test_who_leaves_by_the_keys_comes_back_to_the_same_shell_and_to_what_it_has_printed(box):
    box.start()
    assert box.session == "detached"
    child = box.attach()
    child.expect(PROMPT)
    assert box.session == "attached"
    child.sendline("marker=here; stty size; tty")
    child.expect("31 97")
    child.sendline("(sleep 1; echo late-$marker) & disown")
    child.send(DETACH)
    child.expect("its agent goes on: sbx attach sessions/box")
    assert left(child) == 0
    box.sbx("exec", "box", "sleep", "2")
    child = box.attach(dimensions=(40, 120))
    child.expect("late-here")
    child.sendline("stty size; echo $marker-$((6 * 7))")
    child.expect("40 120")
    child.expect("here-42")
    child.setwinsize(25, 91)
    box.sbx.wait_for(lambda: child.sendline("stty size") and child.expect(["25 91", pexpect.TIMEOUT], timeout=3) == 0)
    child.sendline("exit 7")
    assert left(child) == 7
    assert "no agent runs" in box.attach().read()


def test_keys_that_only_begin_the_sequence_are_typed_and_others_can_be_chosen(box):
    with box.running("stty raw -echo; echo ready; head -c 3 | od -An -c; sleep 1000"):
        child = box.attach("--detach-keys", "ctrl-a,x")
        child.expect("ready")
        child.send("\x01\x01y")
        child.expect(r"001 +001 +y")
        child.send(DETACH)
        child.send("\x01x")
        assert left(child) == 0


def test_a_client_that_is_killed_or_hung_up_on_leaves_the_agent_running(box):
    with box.running("echo ready; read line; echo got-$line; sleep 1000"):
        for ending in (signal.SIGKILL, signal.SIGHUP, signal.SIGTERM):
            child = box.attach()
            child.expect("ready")
            os.kill(child.pid, ending)
            left(child)
        child = box.attach()
        child.expect("ready")
        child.close(force=True)  # the terminal itself goes away
        child = box.attach()
        child.expect("ready")
        child.sendline("words")
        child.expect("got-words")
        child.send(DETACH)
        assert left(child) == 0


def test_who_comes_second_takes_over(box):
    with box.running("echo ready; while read line; do echo got-$line; done"):
        first = box.attach()
        first.expect("ready")
        second = box.attach()
        second.expect("ready")
        first.expect("attached elsewhere")
        assert left(first) == 0
        second.sendline("words")
        second.expect("got-words")
        second.send(DETACH)
        assert left(second) == 0


def test_a_terminal_is_left_as_it_was(box):
    with box.running(r"printf '\033[?1049h\033[?2004h\033[?25lfull'; sleep 1000"):
        child = box.attach()
        child.expect("full")
        child.send(DETACH)
        child.expect(pexpect.EOF)
        text = child.before
        assert re.search(r"\x1b\[\?25h.*\x1b\[\?2004l.*\x1b\[\?1049l", text), repr(text)
        child.close()


def test_a_program_that_floods_its_terminal_with_nobody_there_goes_on_and_costs_no_memory(box):
    [supervisor] = box.sbx.processes("supervisor")

    def memory() -> int:
        return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{supervisor}/status").read_text())[1])

    with box.running("yes | head -c 1000000; echo first; yes | head -c 6000000; echo the-end >flooded; cat"):
        child = box.attach()
        child.expect("first")
        child.send(DETACH)
        assert left(child) == 0
        before = memory()
        box.sbx.wait_for(lambda: (box.sbx.project / "flooded").exists(), timeout=300)
        assert memory() - before < 4096
        child = box.attach()
        child.expect("y\r\ny\r\n")
        child.send(DETACH)
        assert left(child) == 0


def test_a_terminal_that_takes_nothing_does_not_stop_the_agent_for_ever(box):
    with box.running("echo ready; yes | head -c 2000000; echo done >unread; cat"):
        child = box.attach()
        child.expect("ready")
        box.sbx.wait_for(lambda: (box.sbx.project / "unread").exists(), timeout=300)
        child.expect("took no output")
        assert left(child) == 0


def test_an_agent_that_runs_takes_no_arguments(box):
    with box.running("sleep 1000"), pytest.raises(ControlError, match="the agent of sessions/box runs already"):
        box.start("-c", "true")


def test_after_the_supervisor_was_killed_there_is_a_new_session(box):
    box.start()
    [supervisor] = box.sbx.processes("supervisor")
    child = box.attach()
    child.expect(PROMPT)
    child.sendline("echo $((6 * 7))")
    child.expect("42")
    os.kill(supervisor, signal.SIGKILL)
    assert left(child) == 125
    box.sbx("up", "-y")
    assert "no agent runs" in box.attach().read()
    box.start("-c", "echo again; exit 3")
    box.sbx.wait_for(lambda: box.session == "none")


def test_whoever_is_there_when_the_sandbox_stops_is_told(box):
    box.start()
    child = box.attach()
    child.expect(PROMPT)
    child.sendline("echo $((6 * 7))")
    child.expect("42")
    box.sbx("stop", "box")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus not in (0, None)
    box.sbx("down", "-y")


def test_an_agent_finds_its_settings_and_gets_its_arguments(sbx):
    box = Box(sbx)
    sizes = "resources: {cpus: 1, memory: 512MiB, disk: 4GiB}"
    sbx.write(f"name: sessions\nsandboxes:\n  box: {{agent: claude, template: shell, workspaces: [.], {sizes}}}\n")
    missing = sbx("up", "-y", any_code=True)
    assert 'agent binary "claude" not found in sandbox: verify this is the correct sandbox type' in missing.stderr
    install = "cat >/usr/local/bin/claude; chmod +x /usr/local/bin/claude"
    program = """#!/bin/sh\nprintf '<%s>' "$@"; pwd; read -r line\n"""
    sbx("exec", "-i", "-u", "root", "box", "sh", "-c", install, input=program)
    (sbx.project / "theirs").mkdir()
    sbx("exec", "box", "sh", "-c", "ln -s $PWD/theirs ~/.claude")
    sbx("restart", "box")
    assert "hasCompletedOnboarding" in sbx("exec", "box", "sh", "-c", "cat ~/.claude.json").stdout
    assert list((sbx.project / "theirs").iterdir()) == []  # a workspace is the host's: nothing of ours is written there
    box.start("-p", "a  prompt")
    child = box.attach()
    child.expect_exact(f"<--dangerously-skip-permissions><-p><a  prompt>{sbx.project}")
    child.sendline("")
    assert left(child) == 0
    sbx("down", "-y")
