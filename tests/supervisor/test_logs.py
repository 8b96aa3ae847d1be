"""Logs are bounded, private, and never in the way."""

import os
import socket
import stat
from pathlib import Path

import anyio
import pytest

from sandboxfile.host.tasks import beside
from sandboxfile.supervisor.logs import RotatingLog, drain

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_log_keeps_one_old_file_and_no_more(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "main.log", limit=100)
    for number in range(50):
        await log.write(b"line %02d......\n" % number)
    log.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["main.log", "main.log.1"]
    together = (tmp_path / "main.log.1").read_bytes() + (tmp_path / "main.log").read_bytes()
    assert together.endswith(b"line 49......\n")
    assert all(path.stat().st_size <= 100 for path in tmp_path.iterdir())
    assert stat.S_IMODE((tmp_path / "main.log").stat().st_mode) == 0o600


async def test_a_log_goes_on_where_the_last_run_ended(tmp_path: Path) -> None:
    for text in (b"first\n", b"second\n"):
        log = RotatingLog(tmp_path / "console.log")
        await log.write(text)
        assert log.tail().endswith(text.decode())
        log.close()
        await log.write(b"too late\n")
    assert (tmp_path / "console.log").read_bytes() == b"first\nsecond\n"


async def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("")
    (tmp_path / "main.log").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic links"):
        RotatingLog(tmp_path / "main.log")


async def test_a_full_disk_loses_lines_and_nothing_else(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = RotatingLog(tmp_path / "main.log")
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, log._file._descriptor)
    await log.write(b"lost")
    log.close()
    os.close(full)
    assert "No space left" in capfd.readouterr().err


async def test_a_console_is_drained_to_its_end(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "console.log")
    ours, theirs = socket.socketpair()
    with ours, theirs, anyio.fail_after(10):
        async with beside() as group:
            group.start_soon(drain, ours, log)
            for _ in range(100):
                await anyio.to_thread.run_sync(theirs.sendall, b"x" * 10_000)
            theirs.shutdown(socket.SHUT_WR)
            while (tmp_path / "console.log").stat().st_size < 1_000_000:  # noqa: ASYNC110
                await anyio.sleep(0.01)
    log.close()
