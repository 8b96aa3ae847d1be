"""Records, private directories and locks, against the real kernel and what a crash leaves."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import anyio
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from sandboxfile.errors import BusyError, HostError, StateError
from sandboxfile.host import statedir
from sandboxfile.host.durable import write_atomic
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import (
    ensure_directories,
    hold_lock,
    is_locked,
    private_directory,
    read_record,
    sandbox_directories,
    try_lock,
    write_record,
)
from sandboxfile.model.desired import Command, DesiredSandbox, Image, Resources, Workspace
from sandboxfile.model.observed import Applied
from sandboxfile.model.policy import Layer, Policy, Rule
from sandboxfile.names import SandboxId

ID = SandboxId("shop", "web")


@pytest.fixture
def layout(tmp_path):
    layout = Layout(tmp_path / "state", tmp_path / "cache", tmp_path / "run")
    ensure_directories(layout)
    return layout


@pytest.fixture
def paths(layout):
    paths = layout.sandbox(ID)
    paths.root.mkdir(parents=True)
    return paths


# --- records -----------------------------------------------------------------------------------------------------

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
commands = st.lists(words, min_size=1, max_size=3).map(lambda argv: Command(tuple(argv)))
sizes = st.integers(0, 1 << 50)
rules = st.lists(st.builds(Rule, words, place=words, methods=st.just(("GET",))), max_size=2).map(tuple)
layers = st.builds(Layer, words, st.sampled_from(["allow", "deny"]), rules, rules, rules, place=words)
policies = st.builds(Policy, st.lists(layers, min_size=1, max_size=2).map(tuple))
specs = st.builds(
    DesiredSandbox,
    st.just(ID),
    words,
    st.builds(Image, words, words),
    words,
    st.lists(st.builds(Workspace, words, words, st.sampled_from(["ro", "rw"]), st.tuples(words)), max_size=3).map(
        tuple
    ),
    policies,
    st.lists(st.tuples(words, words), max_size=3).map(tuple),
    st.builds(Resources, st.integers(1, 64), sizes, sizes),
    st.lists(commands, max_size=3).map(tuple),
    st.none() | commands,
    st.sampled_from(["no", "on-failure", "always"]),
    st.booleans(),
)
applied = st.builds(Applied, specs, words, words, st.integers(0, 9))
EXAMPLE = Applied(DesiredSandbox(ID, "shell", Image("d" * 64)), "/p/sandbox.yaml", "2026-01-01T00:00:00Z", 0)


@settings(deadline=None)
@given(applied)
def test_what_is_written_is_read(tmp_path_factory, record):
    root = tmp_path_factory.getbasetemp() / "records"
    paths = Layout(root, root, root).sandbox(ID)
    paths.root.mkdir(parents=True, exist_ok=True)
    write_record(paths, record)
    assert read_record(paths) == record


def test_a_record_is_ours_alone_and_versioned(paths):
    write_record(paths, EXAMPLE)
    assert paths.record.stat().st_mode & 0o777 == 0o600
    assert json.loads(paths.record.read_bytes())["version"] == statedir.RECORD_VERSION


def test_what_an_older_version_wrote_and_nobody_needs_hinders_nobody(paths):
    """`taken` were sentences of what is `from_host` now; without that it is told as new the next time."""
    write_record(paths, EXAMPLE)
    fields = json.loads(paths.record.read_bytes())
    del fields["spec"]["from_host"]
    fields["spec"]["taken"] = ["HOME of the environment of sbx"]
    paths.record.write_text(json.dumps(fields))
    assert read_record(paths) == EXAMPLE
    assert read_record(paths).spec.from_host == ()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"1", b'"x"', b"{}", b'{"version": 1}', b"\xff", b"[" * 100_000, b'{"version": null}'],
)
def test_a_record_that_cannot_be_used_says_so_and_what_to_do(paths, content):
    paths.record.write_bytes(content)
    with pytest.raises(StateError) as failure:
        read_record(paths)
    assert "sbx rm --force" in failure.value.hint


def test_a_missing_record_and_one_that_is_a_directory_are_told_too(paths):
    with pytest.raises(StateError, match="is missing"):
        read_record(paths)
    paths.record.mkdir()
    with pytest.raises(StateError, match="cannot be read"):
        read_record(paths)


def test_a_record_of_a_newer_version_is_not_guessed_at(paths):
    write_record(paths, EXAMPLE)
    fields = json.loads(paths.record.read_bytes())
    newer = statedir.RECORD_VERSION + 1
    paths.record.write_text(json.dumps({**fields, "version": newer}))
    with pytest.raises(StateError, match=f"has version {newer}"):
        read_record(paths)


def test_a_reader_never_sees_half_a_file(tmp_path):
    path = tmp_path / "file"
    contents = [bytes([65 + number]) * (1 << 18) for number in range(2)]
    write_atomic(path, contents[0])
    done = threading.Event()

    def write():
        for number in range(60):
            write_atomic(path, contents[number % 2])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not done.is_set():
        seen.add(path.read_bytes())
    writer.join()
    assert seen <= set(contents)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


_WRITE_AND_BE_KILLED = """
import os, signal, sys, time
from pathlib import Path
from sandboxfile.host.durable import write_atomic

path = Path(sys.argv[1])
contents = [bytes([65 + number]) * (1 << 20) for number in range(2)]
begun = time.monotonic()
for content in contents:
    write_atomic(path, content)
taken = time.monotonic() - begun
seen = set()
for moment in range(60):
    child = os.fork()
    while child == 0:
        for content in contents:
            write_atomic(path, content)
    time.sleep(taken * moment / 20)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    seen.add(path.read_bytes())
print(seen <= set(contents), len(seen))
"""


def test_whoever_is_killed_while_writing_leaves_the_old_file_or_the_new_one(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", _WRITE_AND_BE_KILLED, tmp_path / "file"], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "True 2\n", done.stderr
    assert all(entry.name == "file" or entry.name.startswith(".file.") for entry in tmp_path.iterdir())


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def fail(_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


# --- directories -------------------------------------------------------------------------------------------------


def test_directories_are_private_and_made_once(layout):
    ensure_directories(layout)
    for root in (layout.state, layout.cache, layout.runtime):
        assert root.stat().st_mode & 0o777 == 0o700
    for path in (layout.sandboxes, layout.trash, layout.project_lock("shop").parent):
        assert path.is_dir()


def test_a_directory_that_others_may_enter_is_closed(tmp_path):
    (tmp_path / "open").mkdir(mode=0o755)
    private_directory(tmp_path / "open")
    assert (tmp_path / "open").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("trap", ["symlink", "foreign"])
def test_a_trap_is_refused(tmp_path, monkeypatch, trap):
    path = tmp_path / "trap"
    if trap == "symlink":
        (tmp_path / "elsewhere").mkdir()
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.mkdir()
        monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(HostError, match="not a directory of ours"):
        private_directory(path)


def test_only_sandboxes_are_listed(layout):
    for path in ("shop/web", "shop/.new-api", "shop/Lost", "bank/db", ".hidden/x", "a b/c"):
        (layout.sandboxes / path).mkdir(parents=True)
    (layout.sandboxes / "shop/file").touch()
    assert sandbox_directories(layout) == [("bank", "db"), ("shop", "web")]
    assert sandbox_directories(Layout(layout.state / "no", layout.cache, layout.runtime)) == []


# --- locks -------------------------------------------------------------------------------------------------------


def test_a_lock_has_one_holder_and_is_free_when_it_is_closed(tmp_path):
    path = tmp_path / "lock"
    assert not is_locked(path)
    assert not path.exists()
    first = try_lock(path)
    assert is_locked(path)
    assert try_lock(path) is None
    os.close(first)
    assert not is_locked(path)
    os.close(try_lock(path))


def test_a_lock_dies_with_its_holder_and_is_not_handed_to_children(tmp_path):
    path = tmp_path / "lock"
    program = """
import subprocess, sys
from pathlib import Path
from sandboxfile.host.statedir import try_lock
handle = try_lock(Path(sys.argv[1]))
child = subprocess.Popen(["sleep", "100"], close_fds=False)
print(child.pid, flush=True)
child.wait()
"""
    holder = subprocess.Popen([sys.executable, "-c", program, path], stdout=subprocess.PIPE, text=True)
    child = int(holder.stdout.readline())
    assert is_locked(path)
    holder.kill()
    holder.wait()
    assert not is_locked(path)
    os.kill(child, signal.SIGKILL)
    holder.stdout.close()


def test_the_lock_of_a_file_that_was_removed_is_no_lock(tmp_path, monkeypatch):
    """Its holder deleted the sandbox while we waited: what we got is a lock on nothing."""
    path = tmp_path / "lock"
    original, calls = fcntl.flock, []

    def flock(handle, operation):
        original(handle, operation)
        calls.append(handle)
        if len(calls) == 1:
            path.unlink()

    monkeypatch.setattr(fcntl, "flock", flock)
    handle = try_lock(path)
    assert len(calls) == 2
    assert os.path.samestat(os.fstat(handle), path.stat())
    os.close(handle)


def test_a_lock_that_is_a_symlink_is_not_followed(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        try_lock(tmp_path / "lock")
    assert not (tmp_path / "elsewhere").exists()


def test_somebody_who_only_asks_is_not_taken_for_a_holder(tmp_path, monkeypatch):
    """Asking takes the lock for some microseconds, shared: another `sbx ls` must not make a start fail."""
    path = tmp_path / "lock"
    path.touch()
    asking = os.open(path, os.O_RDONLY)
    fcntl.flock(asking, fcntl.LOCK_SH)
    monkeypatch.setattr(statedir.time, "sleep", lambda _: os.close(asking))
    handle = try_lock(path)
    assert handle is not None
    os.close(handle)


def in_virtual_time(main):
    clock = trio.testing.MockClock(autojump_threshold=0)
    return trio.run(main, clock=clock)


def test_who_cannot_wait_is_told_at_once_who_holds_the_lock(tmp_path):
    async def main():
        async with hold_lock(tmp_path / "lock", "apply a plan", 0):
            began = trio.current_time()
            with pytest.raises(BusyError) as failure:
                async with hold_lock(tmp_path / "lock", "remove it", 0):
                    raise AssertionError("two holders")
            assert trio.current_time() == began
            return failure.value

    error = in_virtual_time(main)
    assert str(error) == f"cannot remove it: another sbx is at work here (process {os.getpid()}: apply a plan)"
    assert "--lock-timeout" in error.hint


@pytest.mark.parametrize(("patience", "gets_it"), [(5, False), (20, True)])
def test_who_waits_gets_it_when_it_is_free_in_time(tmp_path, patience, gets_it):
    async def main():
        order = []

        async def second():
            try:
                async with hold_lock(tmp_path / "lock", "second", patience):
                    order.append(f"second at {trio.current_time() - began:.0f}")
            except BusyError:
                order.append(f"gave up at {trio.current_time() - began:.0f}")

        began = trio.current_time()
        async with trio.open_nursery() as nursery, hold_lock(tmp_path / "lock", "first", 0):
            nursery.start_soon(second)
            await trio.sleep(10)
            order.append("first ends")
        return order

    assert in_virtual_time(main) == (["first ends", "second at 10"] if gets_it else ["gave up at 5", "first ends"])


def test_waiting_can_be_cancelled_and_leaves_nothing(tmp_path):
    path = tmp_path / "lock"

    async def main():
        before = len(list(Path("/proc/self/fd").iterdir()))
        async with hold_lock(path, "first", 0):
            with trio.move_on_after(3):
                async with hold_lock(path, "second", 100):
                    raise AssertionError("two holders")
        assert len(list(Path("/proc/self/fd").iterdir())) == before

    in_virtual_time(main)
    assert not is_locked(path)


def test_the_lock_is_free_after_a_block_that_fails(tmp_path):
    async def main():
        async with hold_lock(tmp_path / "lock", "work", 0):
            raise StateError("x")

    with pytest.raises(StateError):
        anyio.run(partial(main))
    assert not is_locked(tmp_path / "lock")
