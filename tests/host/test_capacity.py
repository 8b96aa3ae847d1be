"""What this host has, against what it says of itself elsewhere."""

import os
import time
from pathlib import Path

import pytest

from sandboxfile.host import capacity
from sandboxfile.host.capacity import has, measure, room
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import try_lock, write_record
from sandboxfile.model.desired import DesiredSandbox, Image, Resources
from sandboxfile.model.observed import Applied
from sandboxfile.names import SandboxId
from sandboxfile.planning.tools import TOOLS, ZSTD, Tool

GIB = 1 << 30


@pytest.fixture
def layout(clean_home):
    return Layout(clean_home / "state", clean_home / "cache", clean_home / "run")


def make(layout, name, memory=GIB):
    id = SandboxId("shop", name)
    paths = layout.sandbox(id)
    paths.root.mkdir(parents=True)
    spec = DesiredSandbox(id, "shell", Image("d"), resources=Resources(memory=memory))
    write_record(paths, Applied(spec, "/f", "2026-01-02T03:04:05+00:00", 0))
    return id, paths


def test_it_is_what_the_kernel_says_and_takes_a_moment(layout):
    measure(layout, os.environ)
    started = time.perf_counter()
    found = measure(layout, os.environ)
    assert time.perf_counter() - started < 0.1  # 0.001 is usual
    assert found.cpus == len(os.sched_getaffinity(0))
    assert found.memory == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert found.available > 0
    assert found.running == {}
    assert found.root == (os.geteuid() == 0)
    assert not layout.state.exists()


def test_running_is_what_holds_its_lock_with_the_memory_of_its_record(layout):
    web, paths = make(layout, "web", 3 * GIB)
    make(layout, "stopped")
    _, unreadable = make(layout, "unreadable")
    unreadable.record.write_text("{")
    handles = [try_lock(each.lock) for each in (paths, unreadable)]
    try:
        assert measure(layout, {}).running == {web: 3 * GIB}
    finally:
        for handle in handles:
            os.close(handle)
    assert measure(layout, {}).running == {}


def test_disks_that_are_to_be_copied_are_measured_by_what_they_take(layout):
    web, gone = SandboxId("shop", "web"), SandboxId("shop", "gone")
    paths = layout.sandbox(web)
    paths.root.mkdir(parents=True)
    paths.disk.write_bytes(b"x" * 8192)
    os.truncate(paths.disk, 1 << 30)
    assert 8192 <= measure(layout, {}, [web, gone]).disks[web] < 1 << 20
    assert measure(layout, {}, [web, gone]).disks.keys() == {web}
    assert measure(layout, {}).disks == {}


def test_room_is_that_of_the_file_system_that_a_place_would_be_made_on(tmp_path):
    found = room(tmp_path / "not" / "there")
    assert found.place == str(tmp_path / "not" / "there")
    assert found.device == tmp_path.stat().st_dev
    assert found.free <= os.statvfs(tmp_path).f_bfree * os.statvfs(tmp_path).f_frsize
    assert room(Path("/proc")).device != found.device


def test_temporary_files_go_where_tmpdir_says(layout, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert measure(layout, {}).scratch.place == str(tmp_path)


def test_tools_are_looked_for_on_the_path_and_at_their_places(tmp_path):
    program = tmp_path / "zstd"
    program.touch(mode=0o755)
    plain = {"PATH": str(tmp_path)}
    assert has(ZSTD, plain)
    program.chmod(0o644)
    assert not has(ZSTD, plain)
    assert has(Tool(("nowhere-at-all", str(program)), "p", "is here"), plain)
    assert not has(Tool(("nowhere-at-all", "/nowhere/at/all"), "p", "is not here"), plain)


def test_every_tool_is_looked_for(layout, monkeypatch):
    asked = []
    monkeypatch.setattr(capacity, "has", lambda tool, environ: asked.append(tool) or tool is ZSTD)
    assert measure(layout, {}).tools == {ZSTD}
    assert asked == list(TOOLS)


@pytest.mark.parametrize("text", ["", "nonsense", "MemTotal:", "MemTotal: many kB"])
def test_memory_that_cannot_be_found_out_is_taken_for_plenty(layout, tmp_path, monkeypatch, text):
    file = tmp_path / "meminfo"
    file.write_text(text)
    monkeypatch.setattr(capacity, "_MEMORY", file)
    found = measure(layout, {})
    assert found.memory > 1 << 50
    assert found.available > 1 << 50
    file.write_text("MemTotal: 4 kB\nMemAvailable: 2 kB\nSwapFree: 1 kB\n")
    found = measure(layout, {})
    assert (found.memory, found.available) == (4096, 3072)
