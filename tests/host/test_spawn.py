"""Processes that outlive us: what they get of our environment, and how their end is told."""

import os
import signal
import sys
from pathlib import Path

import anyio
import pytest

from sandboxfile.host.spawn import TIE, ended, exit_code, passed_on, spawn_detached, tail


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of this text, run detached; gives its pid."""

    def run(text, *arguments, tie=None):
        (tmp_path / "some_program.py").write_text(text)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        return spawn_detached("some_program", arguments, tmp_path / "log", tie)

    return run


def test_a_tied_process_reads_the_end_of_whoever_holds_the_pipe(module, tmp_path):
    theirs, ours = os.pipe2(os.O_CLOEXEC)
    pid = module(f"import os; os.read({TIE}, 1); print('alone')", tie=theirs)
    os.close(theirs)
    assert exit_code(pid) is None
    os.close(ours)
    assert anyio.run(ended, pid) == 0
    assert tail(tmp_path / "log") == "alone\n"


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "http_proxy", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "LC_ALL"])
def test_what_says_how_this_host_is_set_up_is_passed_on(name):
    assert passed_on({name: "x"}) == {name: "x"}


@pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "ALL_PROXY", "PYTHONSTARTUP", "LD_PRELOAD", "BASH_ENV"])
def test_what_nobody_asked_for_is_not(name):
    assert passed_on({name: "x"}) == {}


def test_the_place_of_the_users_own_configuration_is_passed_on():
    assert passed_on({"XDG_CONFIG_HOME": "/c"}) == {"XDG_CONFIG_HOME": "/c"}


@pytest.mark.parametrize(("code", "expected"), [("0", 0), ("75", 75)])
def test_the_exit_code_is_told_to_who_waits(module, code, expected):
    pid = module("import sys; sys.exit(int(sys.argv[1]))", code)
    assert anyio.run(ended, pid) == expected
    assert exit_code(pid) == 1  # nobody knows it any more


def test_a_process_that_runs_has_no_exit_code_and_one_that_was_killed_has_the_signal(module):
    pid = module("import signal; signal.pause()")
    assert exit_code(pid) is None
    os.kill(pid, signal.SIGKILL)
    assert anyio.run(ended, pid) == -signal.SIGKILL


def test_output_is_appended_to_the_log_which_only_we_can_read(module, tmp_path):
    (tmp_path / "log").touch(mode=0o600)
    for word in ("one", "two"):
        anyio.run(ended, module("import sys; print(sys.argv[1]); print('!', file=sys.stderr)", word))
    assert sorted(tail(tmp_path / "log").split()) == ["!", "!", "one", "two"]


def test_a_log_that_has_become_long_is_begun_anew(module, tmp_path):
    (tmp_path / "log").write_bytes(b"x" * (2 << 20))
    anyio.run(ended, module("print('first')"))
    assert (tmp_path / "log").read_text() == "first\n"


def test_the_tail_of_a_log_is_its_end(tmp_path):
    assert tail(tmp_path / "none") == ""
    (tmp_path / "log").write_bytes(b"\xff" + b"x" * 10000 + b"end")
    assert tail(tmp_path / "log").endswith("xend")
    assert len(tail(tmp_path / "log")) == 4000


def test_it_is_this_python_in_a_session_of_its_own(module):
    pid = module("import signal; signal.pause()")
    try:
        assert os.getsid(pid) == pid
        while not (arguments := Path(f"/proc/{pid}/cmdline").read_bytes()):  # the kernel is still at the exec
            pass
        assert arguments.startswith(sys.executable.encode() + b"\0-P\0")
    finally:
        os.kill(pid, signal.SIGKILL)
        anyio.run(ended, pid)
