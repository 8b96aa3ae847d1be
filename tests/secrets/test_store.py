"""The store without a keyring: private files and an index, whoever writes at once, and whatever is killed when."""

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sandboxfile.errors import NotFoundError, StateError
from sandboxfile.secrets.store import Store, read_index
from sandboxfile.secrets.values import SecretError

REPOSITORY = Path(__file__).resolve().parents[2]
KILLED = """
import os, signal, sys
from pathlib import Path
from sandboxfile.host.layout import Layout
from sandboxfile.secrets import store

def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

setattr({target})
root = Path(sys.argv[1])
{action}
"""


@pytest.fixture
def store(layout, environ):
    return Store(layout, environ)


@pytest.fixture
def index(layout):
    return layout.secrets / "index.json"


@pytest.fixture
def python(environ, layout):
    """Start a process that uses the same store."""

    def start(script, *arguments):
        return subprocess.Popen(
            [sys.executable, "-c", script, str(layout.state), *arguments],
            env=environ | {"PYTHONPATH": str(REPOSITORY)},
            stderr=subprocess.PIPE,
        )

    return start


def test_a_secret_is_kept_replaced_and_forgotten(store, value):
    store.set("tracker", value)
    assert store.get("tracker") == value
    store.set("tracker", "another")
    store.set("anthropic", "third")
    assert store.get("tracker") == "another"
    assert store.names() == ("anthropic", "tracker")
    store.remove("tracker")
    assert store.names() == ("anthropic",)
    with pytest.raises(SecretError, match="there is no secret tracker"):
        store.get("tracker")


def test_without_a_bus_a_file_has_it_and_the_reason_is_told(store, layout, index):
    place, reason = store.set("tracker", "x")
    assert place == "file"
    assert reason in ("there is no session bus", "secret-tool is not installed (package libsecret-tools)")
    assert json.loads(index.read_bytes()) == {"version": 1, "secrets": {"tracker": "file"}}


def test_nobody_else_can_read_it(store, layout):
    old = os.umask(0)
    try:
        store.set("tracker", "x")
    finally:
        os.umask(old)
    assert stat.S_IMODE(layout.secrets.stat().st_mode) == 0o700
    modes = {stat.S_IMODE(path.stat().st_mode) for path in layout.secrets.iterdir()}
    assert modes == {0o600}


def test_to_look_at_an_empty_store_writes_nothing(store, layout):
    assert store.names() == ()
    with pytest.raises(SecretError):
        store.get("tracker")
    assert not layout.state.exists()


@pytest.mark.parametrize("name", ["", "../x", "index.json", ".lock", "A", "a/b", "a\n", "x" * 64])
def test_what_is_no_name_is_refused(store, layout, name):
    with pytest.raises(SecretError, match="cannot be the name of a secret"):
        store.set(name, "x")
    with pytest.raises(SecretError, match="there is no secret"):
        store.get(name)
    assert not layout.state.exists()


def test_what_is_not_there_cannot_be_removed(store):
    with pytest.raises(NotFoundError):
        store.remove("tracker")


def test_a_value_that_no_request_could_carry_is_not_kept(store):
    with pytest.raises(SecretError, match="more than one line"):
        store.set("tracker", "a\nb")
    assert store.names() == ()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"version": 1}',
        b'{"version": 1, "secrets": []}',
        b'{"version": 1, "secrets": {"../x": "file"}}',
        b'{"version": 1, "secrets": {"x": "elsewhere"}}',
        b'{"version": 1, "secrets": {"x": ["file"]}}',
        b"[" * 100_000,
    ],
)
def test_a_broken_index_is_an_error_for_everybody_and_is_left_as_it_is(store, index, content):
    store.set("tracker", "x")
    index.write_bytes(content)
    for use in (store.names, lambda: store.get("tracker"), lambda: store.set("b", "y"), lambda: store.remove("x")):
        with pytest.raises(StateError, match="list of stored secrets cannot be read") as failure:
            use()
        assert str(index) in failure.value.message + failure.value.hint
    assert index.read_bytes() == content


def test_an_index_of_a_newer_program_is_left_alone(store, index):
    store.set("tracker", "x")
    index.write_text('{"version": 2, "secrets": {}}')
    with pytest.raises(StateError, match="has version 2"):
        store.set("b", "y")


def test_an_index_that_is_a_fifo_keeps_nobody_waiting(index):
    index.parent.mkdir(parents=True)
    os.mkfifo(index)
    with pytest.raises(StateError, match="not a regular file"):
        read_index(index)


def test_a_value_whose_file_is_gone_or_turned_is_told(store, layout):
    store.set("tracker", "x")
    (layout.secrets / "tracker").unlink()
    with pytest.raises(SecretError, match="gone from its file"):
        store.get("tracker")
    os.mkfifo(layout.secrets / "tracker")
    with pytest.raises(SecretError, match="not a regular file"):
        store.get("tracker")
    store.set("tracker", "y")
    assert store.get("tracker") == "y"


def test_a_value_that_others_may_write_is_not_used(store, layout):
    store.set("tracker", "x")
    (layout.secrets / "tracker").chmod(0o666)
    with pytest.raises(SecretError, match="others may write"):
        store.get("tracker")


def test_many_writers_at_once_lose_nothing(store, python):
    script = (
        "import sys, os\nfrom pathlib import Path\nfrom sandboxfile.host.layout import Layout\n"
        "from sandboxfile.secrets.store import Store\nroot = Path(sys.argv[1])\n"
        "store = Store(Layout(root, root, root), os.environ)\n"
        "for number in range(10): store.set(f'{sys.argv[2]}-{number}', 'x' * 1000); store.set('same', sys.argv[2])\n"
    )
    writers = [python(script, name) for name in ("a", "b", "c")]
    for writer in writers:
        with writer:
            assert writer.stderr.read() == b""
        assert writer.returncode == 0
    assert len(store.names()) == 31
    assert store.get("same") in ("a", "b", "c")
    assert {len(store.get(name)) for name in store.names() if name != "same"} == {1000}


@pytest.mark.parametrize(
    "target",
    [
        "store.Store, '_write_index', die",  # the value is there, the index does not know of it
        "Path, 'rename', die",  # a half-made temporary file
        "store, 'write_atomic', die",
    ],
)
def test_a_killed_writer_leaves_what_the_next_one_clears(store, layout, python, target):
    store.set("old", "kept")
    script = KILLED.format(
        target=target, action="store.Store(Layout(root, root, root), os.environ).set('new', 'value')"
    )
    with python(script) as killed:
        pass
    assert killed.returncode == -signal.SIGKILL
    assert store.names() == ("old",)
    assert store.get("old") == "kept"
    store.set("other", "x")
    left = {path.name for path in layout.secrets.iterdir()}
    assert left == {".lock", "index.json", "old", "other"}
    store.set("new", "value")
    assert store.get("new") == "value"


def test_a_killed_removal_leaves_nothing_that_anybody_gets(store, layout, python):
    store.set("old", "kept")
    store.set("gone", "value")
    action = "store.Store(Layout(root, root, root), os.environ).remove('gone')"
    with python(KILLED.format(target="store.Store, '_drop_file', die", action=action)) as killed:
        pass
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(SecretError, match="there is no secret gone"):
        store.get("gone")
    store.set("other", "x")
    assert not (layout.secrets / "gone").exists()
