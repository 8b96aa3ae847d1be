"""The cache of directories, with real builders: tasks, processes, and ones that are killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import anyio
import pytest

from sandboxfile.errors import BuildError
from sandboxfile.images import cache

pytestmark = pytest.mark.anyio
DIGEST = "a" * 64
# A builder in another process: says "building" once it is at work, and finishes when its input ends.
BUILDER = """
import sys, anyio
from pathlib import Path
from sandboxfile.images import cache

async def make(work):
    (work / "file").write_text("half")
    print("building", flush=True)
    await anyio.to_thread.run_sync(sys.stdin.read)
    (work / "file").write_text("whole")
    return {}

anyio.run(lambda: cache.build(Path(sys.argv[1]), sys.argv[2], make, report=lambda words: None))
"""


def silent(words):
    """A report that nobody reads."""


def maker(calls, *, content="whole", pause=0.0):
    async def make(work):
        calls.append(work)
        (work / ".scratch").mkdir()
        (work / ".scratch" / "big").write_text("x")
        (work / "file").write_text(content)
        await anyio.sleep(pause)
        return {"kernel": "1.0"}

    return make


def contents(root):
    return sorted(path.name for path in root.iterdir() if not path.name.startswith(".lock-"))


@pytest.fixture
def builder(tmp_path):
    """Another process in the midst of building DIGEST."""
    command = [sys.executable, "-c", BUILDER, str(tmp_path), DIGEST]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "building\n"
        yield process
        process.kill()


async def test_what_was_built_is_found_whole_and_without_scratch(tmp_path):
    directory, manifest = await cache.build(tmp_path, DIGEST, maker([]), report=silent)
    assert cache.find(tmp_path, DIGEST) == (directory, manifest)
    assert manifest["kernel"] == "1.0"
    assert sorted(path.name for path in directory.iterdir()) == ["file", "manifest.json"]
    assert (directory / "file").stat().st_mode & 0o777 == 0o444
    assert cache.digests(tmp_path) == {DIGEST}


async def test_concurrent_builders_build_once(tmp_path):
    calls, said = [], []
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(lambda: cache.build(tmp_path, DIGEST, maker(calls, pause=0.05), report=said.append))
    assert len(calls) == 1
    assert said == ["waiting for another build of the same"] * 4
    assert contents(tmp_path) == [DIGEST]


async def test_a_builder_waits_for_another_process_and_takes_its_work(tmp_path, builder):
    calls, said = [], []
    threading.Timer(0.3, builder.stdin.close).start()
    with anyio.fail_after(30):
        directory, _ = await cache.build(tmp_path, DIGEST, maker(calls, content="mine"), report=said.append)
    assert calls == []
    assert len(said) == 1
    assert (directory / "file").read_text() == "whole"


async def test_a_killed_builder_leaves_nothing_that_looks_whole_and_the_next_one_sweeps(tmp_path, builder):
    os.kill(builder.pid, signal.SIGKILL)
    builder.wait(10)
    assert cache.find(tmp_path, DIGEST) is None
    assert cache.digests(tmp_path) == frozenset()
    assert len(contents(tmp_path)) == 1
    with anyio.fail_after(30):
        directory, _ = await cache.build(tmp_path, DIGEST, maker([]), report=silent)
    assert (directory / "file").read_text() == "whole"
    assert contents(tmp_path) == [DIGEST]


async def test_the_work_of_a_living_builder_is_not_swept(tmp_path, builder):
    await cache.build(tmp_path, "b" * 64, maker([]), report=silent)
    assert len(contents(tmp_path)) == 2
    builder.stdin.close()
    assert builder.wait(30) == 0
    assert cache.digests(tmp_path) == {DIGEST, "b" * 64}


async def test_a_failed_build_leaves_nothing(tmp_path):
    async def make(work):
        (work / "file").write_text("half")
        raise BuildError("out of luck")

    with pytest.raises(BuildError, match="out of luck"):
        await cache.build(tmp_path, DIGEST, make, report=silent)
    assert contents(tmp_path) == []


async def test_a_cancelled_build_leaves_nothing(tmp_path):
    with anyio.move_on_after(0.05) as scope:
        await cache.build(tmp_path, DIGEST, maker([], pause=60), report=silent)
    assert scope.cancelled_caught
    assert contents(tmp_path) == []


@pytest.mark.parametrize(
    "harm",
    [
        lambda directory: (directory / "file").unlink(),
        lambda directory: os.truncate(directory / "file", 1),
        lambda directory: (directory / "manifest.json").write_text("{"),
        lambda directory: (directory / "manifest.json").write_text("[]"),
        lambda directory: (directory / "manifest.json").unlink(),
    ],
)
async def test_what_was_harmed_is_not_found_and_is_built_again(tmp_path, harm):
    directory, _ = await cache.build(tmp_path, DIGEST, maker([]), report=silent)
    (directory / "file").chmod(0o644)
    harm(directory)
    assert cache.find(tmp_path, DIGEST) is None
    again, _ = await cache.build(tmp_path, DIGEST, maker([]), report=silent)
    assert (again / "file").read_text() == "whole"


async def test_what_another_version_made_is_not_found(tmp_path):
    directory, manifest = await cache.build(tmp_path, DIGEST, maker([]), report=silent)
    (directory / "manifest.json").write_text(json.dumps(manifest | {"version": cache.VERSION + 1}))
    assert cache.find(tmp_path, DIGEST) is None


async def test_a_cache_that_was_deleted_is_filled_again(tmp_path):
    root = tmp_path / "gone"
    assert cache.digests(root) == frozenset()
    for _ in range(2):
        directory, _ = await cache.build(root, DIGEST, maker([]), report=silent)
        shutil.rmtree(root)
        assert not directory.exists()


async def test_a_cache_deleted_under_a_builder_is_an_error_and_the_next_build_succeeds(tmp_path):
    root = tmp_path / "cache"

    async def make(work):
        shutil.rmtree(root)
        return {}

    with pytest.raises(BuildError, match="cannot build into the cache"):
        await cache.build(root, DIGEST, make, report=silent)
    await cache.build(root, DIGEST, maker([]), report=silent)
    assert cache.digests(root) == {DIGEST}


async def test_a_place_that_cannot_be_written_is_an_error_of_the_world(tmp_path):
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(BuildError, match="cannot build into the cache"):
        await cache.build(tmp_path / "file", DIGEST, maker([]), report=silent)


def test_finding_loads_no_event_loop():
    code = "import sys, sandboxfile.images.boot.platform, sandboxfile.images.store; print('anyio' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(Path(cache.__file__).parents[2])}
    started = time.monotonic()
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "False", time.monotonic() - started
