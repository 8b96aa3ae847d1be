"""Commands of the user's: bounded, whatever they do, and nothing is left of them."""

import os
import signal
import time
from pathlib import Path

import pytest

from sandboxfile.secrets.commands import CommandFlood, CommandTimeout, Ended, run_command
from sandboxfile.secrets.values import LIMIT


@pytest.fixture
def shell(environ):
    def run(script, **options):
        return run_command(("/bin/sh", "-c", script), environ, **options)

    return run


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_it_runs_at_home_with_the_environment_given_and_nothing_to_read(environ, clean_home):
    ended = run_command(("/bin/sh", "-c", 'pwd; echo "$ONE"; cat; echo end >&2'), environ | {"ONE": "1"})
    assert (ended.code, ended.output, ended.errors) == (0, f"{clean_home}\n1\n".encode(), b"end\n")


def test_no_shell_reads_its_arguments(environ):
    assert run_command(("printf", "%s", "$HOME;`id`"), environ).output == b"$HOME;`id`"


def test_its_program_is_found_on_the_path_of_the_environment_given(environ, clean_home):
    program = clean_home / "tell"
    program.write_text("#!/bin/sh\necho told\n")
    program.chmod(0o755)
    assert run_command(("tell",), environ | {"PATH": str(clean_home)}).output == b"told\n"
    with pytest.raises(FileNotFoundError):
        run_command(("tell",), environ | {"PATH": "/nowhere"})


def test_how_it_ended_is_told(shell):
    assert shell("exit 7").code == 7
    assert shell("kill -9 $$").code == -signal.SIGKILL


def test_one_that_hangs_is_killed_with_its_children(shell, clean_home):
    with pytest.raises(CommandTimeout):
        shell("sleep 600 & echo $! > child; echo $$ > parent; wait", timeout=1)
    for name in ("child", "parent"):
        pid = int((clean_home / name).read_text())
        deadline = time.monotonic() + 10
        while is_running(pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not is_running(pid)


def test_one_that_floods_is_killed_at_once(shell):
    started = time.monotonic()
    with pytest.raises(CommandFlood):
        shell("yes secret", timeout=60)
    assert time.monotonic() - started < 30


def test_complaints_without_end_fill_no_memory(shell):
    ended = shell("head -c 3000000 /dev/zero >&2; echo done; echo last >&2")
    assert ended.output == b"done\n"
    assert len(ended.errors) <= 4096
    assert ended.errors.endswith(b"last\n")


def test_a_child_that_holds_the_pipes_is_not_waited_for(shell, clean_home):
    ended = shell("sleep 600 & echo $! > child; echo value", timeout=60)
    os.kill(int((clean_home / "child").read_text()), signal.SIGKILL)
    assert (ended.code, ended.output) == (0, b"value\n")


def test_what_it_printed_before_its_end_is_all_there(shell):
    for _ in range(20):
        assert len(shell(f"head -c {LIMIT} /dev/zero").output) == LIMIT


def test_it_gets_its_input_and_the_end_of_it(shell):
    assert shell("cat", input=b"x" * LIMIT).output == b"x" * LIMIT
    assert shell("true", input=b"x").code == 0
    assert shell("exec <&-; true", input=b"x" * LIMIT).code == 0


def test_one_without_a_home_runs_at_the_root(environ):
    assert run_command(("pwd",), environ | {"HOME": "/nonexistent"}).output == b"/\n"


def test_how_it_ended_can_be_printed_without_what_it_said(value):
    assert value not in repr(Ended(0, value.encode(), value.encode()))
