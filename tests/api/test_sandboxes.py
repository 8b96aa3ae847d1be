"""A handle of one sandbox: commands and files, its life, its ports and its log."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from sandboxfile.api import ExecTimeout, InvalidFile, Sandbox, SandboxfileError, executing, load, plan
from sandboxfile.cli import editing
from sandboxfile.errors import BusyError, CommandError, NotFoundError
from sandboxfile.host import moving
from sandboxfile.host.directories import sandbox_directories
from sandboxfile.host.sleep_mark import mark_asleep
from sandboxfile.host.statedir import read_record, write_record

from .conftest import FILE


def test_a_command_gives_its_code_and_both_streams(web):
    done = web.exec(["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert web.exec("echo $0 $A", env={"A": "x y"}).stdout == "/bin/sh x y\n"
    assert web.exec(["sh", "-c", "kill -TERM $$"]).returncode == 143
    assert web.exec(["pwd"], cwd="/usr").stdout == "/usr\n"
    assert web.exec(["sh", "-c", "echo $USER"], user="root").stdout == "root\n"
    assert web.exec(["printf", r"\377"]).stdout == "�"
    with pytest.raises(ValueError, match="needs a program"):
        web.exec([])


def test_one_that_is_asleep_is_woken_by_a_command_and_one_that_was_stopped_is_not(web, layout):
    web.stop()
    with pytest.raises(SandboxfileError, match="is not running"):
        web.exec(["true"])
    mark_asleep(layout.sandbox(web.id))
    assert web.exec(["echo", "awake"]).stdout == "awake\n"
    assert not layout.sandbox(web.id).asleep.exists()


def test_input_is_all_that_a_command_reads_and_without_it_there_is_none(web):
    assert web.exec(["cat"], input="text é").stdout == "text é"
    assert web.exec(["cat"], input=b"").stdout == ""
    assert web.exec(["cat"], timeout=10).stdout_bytes == b""


def test_much_goes_both_ways_at_once_and_stays_as_it_is(web):
    data = bytes(range(256)) * 40_000
    assert web.exec(["cat"], input=data).stdout_bytes == data


def test_a_command_need_not_read_its_input(web):
    assert web.exec(["true"], input=bytes(1 << 20)).returncode == 0


def test_with_check_a_failure_is_an_error_with_what_it_printed(web):
    with pytest.raises(CommandError, match="sh ended with exit code 3") as caught:
        web.exec(["sh", "-c", "echo why >&2; exit 3"], check=True)
    assert caught.value.exit_code == 3
    assert "  why" in caught.value.__notes__


def test_a_timeout_ends_the_command(web, tmp_path):
    mark = tmp_path / "mark"
    before = time.monotonic()
    with pytest.raises(ExecTimeout, match=r"sh took longer than 0\.5 s") as caught:
        web.exec(["sh", "-c", f"echo begun; echo $$ > {mark}; exec sleep 100"], timeout=0.5)
    assert caught.value.stdout_bytes == b"begun\n"
    assert time.monotonic() - before < 20
    process = Path("/proc", mark.read_text().strip())
    while process.exists():
        assert time.monotonic() - before < 20
        time.sleep(0.01)


def test_a_command_that_prints_for_ever_is_ended(web, monkeypatch):
    monkeypatch.setattr(executing, "OUTPUT_LIMIT", 1 << 20)
    with pytest.raises(SandboxfileError, match="printed more than 1 MiB"):
        web.exec(["yes"])


def test_many_commands_at_once_do_not_mix(web):
    def one(number):
        return web.exec(["sh", "-c", f"sleep 0.2; echo {number}; exit {number}"])

    with ThreadPoolExecutor(12) as pool:
        done = list(pool.map(one, range(12)))
    assert [(each.returncode, each.stdout) for each in done] == [(number, f"{number}\n") for number in range(12)]


def test_files_go_in_and_out_whole(web, tmp_path):
    path = str(tmp_path / "-a file")
    web.write_file(path, b"\x00\xff")
    assert web.read_file(path) == b"\x00\xff"
    web.write_file(path, "short")
    assert web.read_file(path) == b"short"


def test_a_file_that_cannot_be_read_or_written_is_told_with_its_path_and_why(web, tmp_path):
    gone = str(tmp_path / "none")
    with pytest.raises(CommandError) as caught:
        web.read_file(gone)
    assert str(caught.value) == f"{gone} in shop/web cannot be read: No such file or directory"
    assert caught.value.exit_code == 1
    with pytest.raises(CommandError, match="cannot be read: Is a directory"):
        web.read_file(str(tmp_path))
    nowhere = str(tmp_path / "no/directory")
    with pytest.raises(CommandError, match=f"^{nowhere} in shop/web cannot be written: .*(nonexistent|No such)"):
        web.write_file(nowhere, "")
    with pytest.raises(CommandError, match="cannot be read: No such file") as caught:
        web.read_file(f"{gone}\x1b[31m")
    assert "\x1b" not in str(caught.value)


def test_its_life(web, layout):
    assert web.status() == "running"
    web.stop()
    assert web.status() == "stopped"
    with pytest.raises(SandboxfileError, match="is not running") as caught:
        web.exec(["true"])
    assert caught.value.__notes__ == ["hint: start it: sbx start shop/web"]
    web.start()
    assert web.exec(["true"]).returncode == 0
    web.remove()
    assert sandbox_directories(layout) == []
    for method in (web.status, web.start, web.stop, web.remove, lambda: web.port(80)):
        with pytest.raises(NotFoundError, match="there is no sandbox shop/web"):
            method()


def test_an_existing_one_is_opened_by_name(web):
    assert Sandbox.open("shop/web") == Sandbox.open("web") == web
    assert (web.name, str(web)) == ("web", "shop/web")
    with pytest.raises(NotFoundError, match="there is no sandbox wbe") as caught:
        Sandbox.open("wbe")
    assert "did you mean" in caught.value.__notes__[0].lower()


def test_a_port_of_the_file_is_told_running_and_stopped(web):
    assert web.port(80) == ("127.0.0.1", 18080)
    web.stop()
    assert web.port(80) == ("127.0.0.1", 18080)
    with pytest.raises(NotFoundError, match="leads to shop/web:81"):
        web.port(81)


def test_a_forward_lasts_as_long_as_its_block(web, layout):
    mark = layout.sandbox(web.id).root / "forwarding"
    with web.forward(80) as (address, port):
        assert address == "127.0.0.1"
        assert 1024 <= port < 65536
        assert mark.exists()
    deadline = time.monotonic() + 20
    while mark.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with web.forward(80, host=18081) as there:
        assert there == ("127.0.0.1", 18081)


def test_the_network_log_is_read_as_records(web, layout):
    assert web.network_log() == []
    usual = {"time": "2026-01-01T00:00:00.000Z", "host": "api.example.com", "port": 443, "protocol": "https"}
    lines = [{**usual, "verdict": "allowed"}, {**usual, "verdict": "denied", "reason": "no rule"}]
    layout.sandbox(web.id).network_log.write_text("".join(json.dumps(line) + "\n" for line in lines) + "cut o")
    assert [record.fields for record in web.network_log()] == lines
    [blocked] = web.network_log(blocked=True)
    assert (blocked.target, blocked.fields["reason"]) == ("api.example.com:443", "no rule")


def test_its_disk_is_kept_comes_back_and_goes_on_twice(web, layout):
    web.stop()
    disk = layout.sandbox(web.id).disk
    with disk.open("ab") as file:
        file.write(b"first")
    assert web.checkpoint("good") == "good"
    assert len(web.checkpoint()) == len("20261121-223405")
    with pytest.raises(BusyError, match="good already"):
        web.checkpoint("good")
    with disk.open("ab") as file:
        file.write(b"second")
    now, then = web.fork("now"), web.fork("then", checkpoint="good")
    assert (str(now), now.status()) == ("now", "stopped")
    assert [b"second" in layout.sandbox(each.id).disk.read_bytes() for each in (now, then)] == [True, False]
    web.start()
    web.restore("good")
    assert web.status() == "running"
    assert disk.read_bytes().endswith(b"first")
    for failing in (lambda: web.restore("none"), lambda: web.fork("No!"), lambda: web.fork("now")):
        with pytest.raises(SandboxfileError):
            failing()


def test_a_protected_disk_is_lost_only_when_that_is_allowed(web, layout):
    web.stop()
    web.checkpoint("good")
    paths = layout.sandbox(web.id)
    write_record(paths, replace(read_record(paths), spec=replace(read_record(paths).spec, protect=True)))
    with pytest.raises(SandboxfileError, match="protect"):
        web.restore("good")
    web.restore("good", allow_destroy=True)
    assert web.status() == "stopped"


def test_another_name_is_one_in_its_file_too_and_the_disk_stays(web, file, layout):
    with layout.sandbox(web.id).disk.open("ab") as disk:
        disk.write(b"precious")
    front = web.rename("front")
    assert (str(front), front.status()) == ("shop/front", "running")
    assert layout.sandbox(front.id).disk.read_bytes().endswith(b"precious")
    assert file.read_text() == FILE.replace("web:", "front:")
    with pytest.raises(NotFoundError, match="there is no sandbox shop/web"):
        web.rename("back")
    front.stop()
    assert [step.key for step in plan(load(file)).steps] == ["start front"]
    assert front.rename("back").status() == "stopped"


def test_a_name_that_cannot_be_changes_nothing(web, file):
    web.stop()
    other = web.fork("other")
    web.start()
    with pytest.raises(SandboxfileError, match="'No!' is not a name"):
        web.rename("No!")
    with pytest.raises(SandboxfileError, match="there is a sandbox shop/web already"):
        web.rename("web")
    assert str(other.rename("another")) == "another"
    file.write_text(FILE + "  db: {colour: red}\n")
    with pytest.raises(InvalidFile, match=r"sandbox\.yaml:5:8") as caught:
        web.rename("front")
    assert caught.value.path == file
    assert len(caught.value.diagnostics) == 1
    assert web.status() == "running"


def test_a_rename_that_was_killed_is_finished_by_the_next(web, file, monkeypatch):
    web.stop()

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(editing, "write", die)
        patch.setattr(moving, "move_back", die)  # the dead undo nothing
        with pytest.raises(KeyboardInterrupt):
            web.rename("front")
    assert file.read_text() == FILE
    assert str(web.rename("front")) == "shop/front"
    assert file.read_text() == FILE.replace("web:", "front:")
