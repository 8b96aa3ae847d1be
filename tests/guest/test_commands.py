"""The lines that guest shells get, judged by shells: whatever the words hold, the program gets exactly them."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandboxfile.errors import GuestError
from sandboxfile.guest.commands import NO_DIRECTORY, command_line, detached_line, kill_command, split_environment

SHELLS = [shell for shell in ("/bin/sh", "/bin/bash", "/bin/dash", "/usr/bin/busybox") if Path(shell).exists()]
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


def run(shell: str, line: str, cwd: str = "/", env: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    argv = [shell, "sh", "-c", line] if shell.endswith("busybox") else [shell, "-c", line]
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **(env or {})}
    return subprocess.run(argv, capture_output=True, cwd=cwd, env=environment, timeout=20, check=False)


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=25, deadline=None)
@given(words=st.lists(WORDS, max_size=4))
def test_a_program_gets_exactly_its_words(shell: str, words: list[str]) -> None:
    ended = run(shell, command_line("id", ["/usr/bin/printf", "%s|", *words], "/", {}))
    expected = "".join(f"{word}|" for word in words) if words else "|"
    assert ended.stdout.decode() == expected


@pytest.mark.parametrize("shell", SHELLS)
def test_the_line_becomes_the_program_in_its_directory_with_its_variables(shell: str, tmp_path: Path) -> None:
    strange = tmp_path / "a dir; with 'quotes' $HOME"
    strange.mkdir()
    line = command_line("id7", ["/bin/sh", "-c", "echo $$ $SBX_EXEC_ID; pwd; echo $A"], str(strange), {"A": "x 'y' $B"})
    first, where, value = run(shell, line).stdout.decode().splitlines()
    pid, mark = first.split()
    assert mark == f"id7.{pid}", "the mark names the process group, and the shell is gone"
    assert (where, value) == (str(strange), "x 'y' $B")


@pytest.mark.parametrize("shell", SHELLS)
def test_failures_have_the_codes_that_shells_give(shell: str, tmp_path: Path) -> None:
    assert run(shell, command_line("i", ["no-such-program"], None, {})).returncode == 127
    assert run(shell, command_line("i", ["/etc/passwd"], None, {})).returncode == 126
    missing = run(shell, command_line("i", ["true"], str(tmp_path / "missing"), {}))
    assert (missing.returncode, missing.stderr) == (NO_DIRECTORY, b"")
    assert run(shell, detached_line(["no-such-program"], None, {})).returncode == 127
    assert run(shell, detached_line(["true"], str(tmp_path / "missing"), {})).returncode == NO_DIRECTORY


@pytest.mark.parametrize("argv", [["-rf"], ["echo", "a\0b"], ["echo", "x" * 130_000]])
def test_what_no_line_can_say_is_refused(argv: list[str]) -> None:
    for line in (lambda: command_line("i", argv, "/", {}), lambda: detached_line(argv, "/", {})):
        with pytest.raises(GuestError):
            line()


def test_the_path_goes_by_the_line_and_so_does_what_sshd_would_drop() -> None:
    env = [("PATH", "/opt/bin"), *((f"V{number}", str(number)) for number in range(150))]
    by_ssh, by_line = split_environment(env)
    assert by_line["PATH"] == "/opt/bin"
    assert len(by_ssh) == 100
    assert {**by_ssh, **by_line} == dict(env)
    assert split_environment([("A.B", "1"), ("C", "2")]) == ({"A.B": "1", "C": "2"}, {})


def test_a_kill_finds_the_group_by_the_mark_alone(tmp_path: Path) -> None:
    """The script itself, with this host's tools in place of the guest's."""
    id = secrets.token_hex(8)
    line = command_line(id, ["/bin/sh", "-c", "sleep 1000 & sleep 1000"], "/", {})
    victim = subprocess.Popen(["/bin/sh", "-c", line], start_new_session=True)
    try:
        assert _kill(f"not-{id}", "TERM") == 3
        while not Path(f"/proc/{victim.pid}/environ").read_bytes().count(id.encode()):
            pass
        assert _kill(id, "TERM") == 0
        assert victim.wait(10) == -signal.SIGTERM
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(victim.pid, signal.SIGKILL)
        victim.wait()


def _kill(id: str, name: str) -> int:
    shell, *arguments = kill_command(id, name)
    assert shell == "/run/sbx/bin/sh"
    script = [argument.replace("/run/sbx/bin", "/usr/bin:/bin") for argument in arguments]
    return subprocess.run([shutil.which("sh") or "sh", *script], timeout=20, check=False).returncode
