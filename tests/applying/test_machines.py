"""Supervisors as processes: started detached, waited for, stopped, and killed when they do not answer."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import anyio
import pytest

from sandboxfile.applying import machines
from sandboxfile.errors import MachineError
from sandboxfile.host.statedir import is_locked, try_lock
from sandboxfile.names import SandboxId

WEB = SandboxId("shop", "web")


def start(home):
    anyio.run(machines.start, home.layout, WEB, home.told.append)


def stop(home):
    anyio.run(machines.stop, home.layout, WEB, home.told.append)


def holder(home):
    return machines.lock_holder(home.paths.lock)


def test_start_waits_until_it_is_ready_and_tells_what_it_says(home):
    start(home)
    assert is_locked(home.paths.lock)
    assert home.told == ["booting the guest"]
    assert home.asked() == ["WaitReady"]


def test_starting_again_starts_no_other(home):
    start(home)
    first = holder(home), home.paths.supervisor_log.stat().st_ino
    start(home)
    assert (holder(home), home.paths.supervisor_log.stat().st_ino) == first
    assert home.asked() == ["WaitReady"] * 2


def test_what_is_started_is_detached_and_inherits_nothing(home, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "x")
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    start(home)
    os.close(writer)
    assert os.read(reader, 1) == b""  # no other process has the end of the pipe
    os.close(reader)
    pid = holder(home)
    assert os.getsid(pid) == pid
    assert b"SECRET_TOKEN" not in Path(f"/proc/{pid}/environ").read_bytes()
    assert Path(f"/proc/{pid}/fd/0").readlink() == Path("/dev/null")
    assert Path(f"/proc/{pid}/fd/1").readlink() == home.paths.supervisor_log


def test_nothing_in_the_current_directory_is_imported(home, tmp_path, monkeypatch):
    """It may be a workspace, and what a guest left there must not run on the host."""
    for name in ("anyio", "sandboxfile", "fake_supervisor", "json"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'caught')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    start(home)
    assert not (tmp_path / "caught").exists()


def test_one_that_dies_at_once_is_told_with_its_last_words(home):
    home.behave("dies")
    began = time.monotonic()
    with pytest.raises(MachineError) as failure:
        start(home)
    assert "the machine is broken" in failure.value.output
    assert time.monotonic() - began < 10


def test_one_that_fails_to_boot_is_told_with_its_reason(home):
    home.behave("fails")
    with pytest.raises(MachineError, match="the guest did not boot") as failure:
        start(home)
    assert failure.value.output == "Kernel panic"


def test_one_that_dies_while_it_boots_is_told_with_its_log(home):
    home.behave("vanishes")
    with pytest.raises(MachineError, match="did not start") as failure:
        start(home)
    assert "something terrible" in failure.value.output


def test_the_socket_of_one_that_was_killed_fools_nobody(home):
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(home.paths.control))
    stale.close()
    home.behave("slow")
    start(home)
    assert home.asked() == ["WaitReady"]


def test_one_that_never_listens_is_given_up(home, monkeypatch):
    monkeypatch.setattr(machines, "_LISTEN_TIMEOUT", 1.0)
    home.behave("deaf")
    with pytest.raises(MachineError, match="does not answer"):
        start(home)


def test_stop_asks_for_it_and_waits_until_it_is_gone(home):
    start(home)
    stop(home)
    assert not is_locked(home.paths.lock)
    assert home.asked() == ["WaitReady", "GetStatus", "Stop"]
    stop(home)


def test_one_whose_machine_is_silent_is_still_asked(home):
    home.behave("troubled")
    start(home)
    stop(home)
    assert home.asked()[-1] == "Stop"
    assert not any("killing" in line for line in home.told)


@pytest.mark.parametrize("how", ["stopped by a signal", "silent"])
def test_one_that_does_not_answer_is_killed(home, monkeypatch, how):
    monkeypatch.setattr(machines, "_PATIENCE", 0.5)
    if how == "silent":
        home.behave("silent")
        monkeypatch.setattr(machines, "_READY_TIMEOUT", 0.5)
        with pytest.raises(MachineError):
            start(home)
    else:
        start(home)
        os.kill(holder(home), signal.SIGSTOP)
    stop(home)
    assert not is_locked(home.paths.lock)
    assert any("killing it" in line for line in home.told)
    start_again = [line for line in home.asked() if line == "Stop"]
    assert start_again == []


# --- who holds a lock --------------------------------------------------------------------------------------------

_HOLD = """
import sys, time
from pathlib import Path
from sandboxfile.host.statedir import try_lock
handle = try_lock(Path(sys.argv[1]))
print("locked", flush=True)
time.sleep(100)
"""


def hold(lock, *arguments):
    """Another process that holds a lock."""
    process = subprocess.Popen([sys.executable, "-c", _HOLD, lock, *arguments], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"locked\n"
    return process


def end(process):
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_holder_of_a_lock_is_found(tmp_path):
    lock = tmp_path / "lock"
    assert machines.lock_holder(lock) is None
    process = hold(lock)
    try:
        assert machines.lock_holder(lock) == process.pid
    finally:
        end(process)
    assert machines.lock_holder(lock) is None
    handle = try_lock(lock)
    assert machines.lock_holder(lock) == os.getpid()
    os.close(handle)


def test_the_holder_of_another_file_with_the_same_number_is_not_taken_for_it(tmp_path):
    mine, other = tmp_path / "mine", tmp_path / "other"
    mine.touch()
    process = hold(other)
    try:
        assert machines.lock_holder(mine) is None
        assert not machines.kill_holder(mine)
        assert process.poll() is None
    finally:
        end(process)


def test_only_a_supervisor_is_killed(tmp_path):
    lock = tmp_path / "lock"
    innocent = hold(lock)  # another sbx, that deletes this sandbox
    try:
        assert not machines.kill_holder(lock)
        assert innocent.poll() is None
    finally:
        end(innocent)
    guilty = hold(lock, "sandboxfile.supervisor")
    try:
        assert machines.kill_holder(lock)
        assert guilty.wait(10) == -signal.SIGKILL
    finally:
        end(guilty)
    assert not machines.kill_holder(lock)
