"""Bytes from a pipe into a file and out of a file into a pipe, while other tasks run."""

import os
from pathlib import Path

import anyio
import pytest

from sandboxfile.cli.pouring import pour_in, pour_out
from sandboxfile.host.tasks import together

DATA = os.urandom(300_001)
pytestmark = pytest.mark.anyio


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


async def test_what_is_poured_into_a_pipe_comes_out_of_it(tmp_path, pipe):
    (tmp_path / "source").write_bytes(DATA)
    told = []

    async def write():
        await pour_out(tmp_path / "source", pipe[1])
        os.close(pipe[1])

    async def read():
        await pour_in(pipe[0], tmp_path / "target", told.append)

    with anyio.fail_after(20):
        await together(write, read)
    assert (tmp_path / "target").read_bytes() == DATA
    assert told == sorted(told)
    assert told[-1] == len(DATA)


async def test_plain_files_are_poured_too(tmp_path):
    (tmp_path / "source").write_bytes(DATA)
    with (tmp_path / "source").open("rb") as file:
        await pour_in(file.fileno(), tmp_path / "copy", lambda count: None)
    with (tmp_path / "target").open("wb") as file:
        await pour_out(tmp_path / "copy", file.fileno())
    assert (tmp_path / "target").read_bytes() == DATA
    with Path(os.devnull).open("wb") as nothing:  # noqa: ASYNC230
        await pour_out(tmp_path / "copy", nothing.fileno())


async def test_a_pipe_that_nobody_fills_can_be_given_up(tmp_path, pipe):
    with anyio.move_on_after(0.05) as scope:
        await pour_in(pipe[0], tmp_path / "target", lambda count: None)
    assert scope.cancelled_caught


async def test_a_pipe_that_nobody_reads_any_more_ends_it(tmp_path, pipe):
    (tmp_path / "source").write_bytes(DATA)
    os.close(pipe[0])
    with pytest.raises(BrokenPipeError):
        await pour_out(tmp_path / "source", pipe[1])
