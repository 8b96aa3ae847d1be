"""The real keyring of a desktop, on a session bus of its own; and programs that only pretend to be it."""

import json
import stat

import pytest

from sandboxfile.secrets import keyring
from sandboxfile.secrets.keyring import Keyring
from sandboxfile.secrets.store import Store
from sandboxfile.secrets.values import SecretError


@pytest.fixture
def store(layout, keyring_environ):
    return Store(layout, keyring_environ)


def files(layout):
    return {path.name for path in layout.secrets.iterdir()}


def test_a_secret_is_kept_in_the_keyring_and_in_no_file(store, layout, value):
    assert store.keyring_missing() is None
    assert store.set("tracker", value) == ("keyring", "")
    assert store.get("tracker") == value
    assert files(layout) == {".lock", "index.json"}
    assert not any(value in path.read_text() for path in layout.secrets.iterdir())
    store.set("tracker", "schlüssel with spaces ")
    assert store.get("tracker") == "schlüssel with spaces "


def test_two_state_directories_do_not_share_a_secret(keyring_environ, clean_home):
    one, two = (Keyring(keyring_environ, clean_home / name) for name in ("one", "two"))
    one.set("tracker", "first")
    assert two.get("tracker") is None
    two.set("tracker", "second")
    one.remove("tracker")
    assert (one.get("tracker"), two.get("tracker")) == (None, "second")


def test_a_removed_secret_is_gone_from_the_keyring(store, layout, keyring_environ):
    store.set("tracker", "x")
    store.remove("tracker")
    assert store.names() == ()
    assert Keyring(keyring_environ, layout.state).get("tracker") is None
    Keyring(keyring_environ, layout.state).remove("tracker")  # once more is no error


def test_what_is_too_long_for_the_keyring_goes_into_a_file_whole(store, layout, keyring_environ):
    place, reason = store.set("long", "k" * 20_000)
    assert (place, reason) == ("file", "the keyring did not keep it as it is")
    assert len(store.get("long")) == 20_000
    assert Keyring(keyring_environ, layout.state).get("long") is None


def test_a_secret_moves_into_the_keyring_when_there_is_one(store, layout, environ):
    Store(layout, environ).set("tracker", "first")
    assert "tracker" in files(layout)
    assert store.set("tracker", "second") == ("keyring", "")
    assert "tracker" not in files(layout)
    assert store.get("tracker") == "second"


def test_without_its_session_a_secret_of_the_keyring_cannot_be_had_or_removed_but_set_anew(store, layout, environ):
    store.set("tracker", "first")
    away = Store(layout, environ)
    with pytest.raises(SecretError, match="there is no session bus"):
        away.get("tracker")
    with pytest.raises(SecretError, match="there is no session bus"):
        away.remove("tracker")
    assert away.set("tracker", "second")[0] == "file"
    assert (away.get("tracker"), store.get("tracker")) == ("second", "second")


def test_a_secret_that_somebody_took_from_the_keyring_is_told(store, layout, keyring_environ):
    store.set("tracker", "x")
    Keyring(keyring_environ, layout.state).remove("tracker")
    with pytest.raises(SecretError, match="gone from the keyring"):
        store.get("tracker")


def test_the_bus_is_found_in_the_runtime_directory(store, keyring_environ, layout):
    store.set("tracker", "x")
    without = {name: value for name, value in keyring_environ.items() if name != "DBUS_SESSION_BUS_ADDRESS"}
    assert Store(layout, without).get("tracker") == "x"


def test_a_bus_without_a_keyring_is_no_keyring(layout, environ, clean_home):
    """An address where nobody listens: of a session that ended."""
    ended = environ | {"DBUS_SESSION_BUS_ADDRESS": f"unix:path={clean_home}/gone"}
    store = Store(layout, ended)
    assert store.keyring_missing() in (
        "no secret service answers on the session bus",
        "secret-tool is not installed (package libsecret-tools)",
    )
    assert store.set("tracker", "x")[0] == "file"


# --- programs that pretend ---------------------------------------------------------------------------------------


@pytest.fixture
def pretend(clean_home, environ, layout):
    """A store whose secret-tool is a script."""

    def make(script):
        program = clean_home / "bin/secret-tool"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        bus = {"DBUS_SESSION_BUS_ADDRESS": "unix:path=/nowhere"}
        return Store(layout, environ | bus | {"PATH": f"{program.parent}:{environ['PATH']}"})

    return make


def test_a_keyring_that_does_not_answer_in_time_is_none(pretend, monkeypatch):
    monkeypatch.setattr(keyring, "_PROBE", 0.2)
    store = pretend("sleep 600")
    assert store.keyring_missing() == "the keyring did not answer within 0.2 s"
    assert store.set("tracker", "x") == ("file", "the keyring did not answer within 0.2 s")


def test_a_keyring_that_takes_nothing_is_passed_over(pretend):
    store = pretend('case "$1" in lookup) exit 1;; *) echo locked >&2; exit 1;; esac')
    assert store.set("tracker", "x") == ("file", "the keyring did not take it")
    assert store.get("tracker") == "x"


def test_a_keyring_that_loses_what_it_takes_is_passed_over(pretend):
    store = pretend('case "$1" in lookup) exit 1;; *) cat >/dev/null;; esac')
    assert store.set("tracker", "x") == ("file", "the keyring did not keep it as it is")


def test_a_value_is_in_no_argument_and_no_environment_of_the_program(pretend, clean_home, layout, value):
    store = pretend(
        'echo "$*" >> "$HOME/seen"; env >> "$HOME/seen"; case "$1" in lookup) exit 1;; store) cat > "$HOME/in";; esac'
    )
    store.set("tracker", value)
    seen = (clean_home / "seen").read_text()
    assert "store --label=sandboxfile: tracker application sandboxfile" in seen
    assert value not in seen
    assert (clean_home / "in").read_text() == value


def test_the_program_is_needed(layout, environ):
    store = Store(layout, environ | {"PATH": "/nowhere", "DBUS_SESSION_BUS_ADDRESS": "unix:path=/nowhere"})
    assert store.keyring_missing() == "secret-tool is not installed (package libsecret-tools)"
    place, _ = store.set("tracker", "x")
    assert place == "file"
    assert stat.S_IMODE((layout.secrets / "tracker").stat().st_mode) == 0o600


def test_where_there_is_no_bus_the_program_is_not_even_started(pretend, clean_home, layout, environ):
    """It would start a bus of its own when there is a display."""
    pretend('touch "$HOME/started"; exit 1')
    layout.secrets.mkdir(parents=True)
    (layout.secrets / "index.json").write_text(json.dumps({"version": 1, "secrets": {"tracker": "keyring"}}))
    store = Store(layout, environ | {"DISPLAY": ":99", "PATH": f"{clean_home}/bin:{environ['PATH']}"})
    assert store.keyring_missing() == "there is no session bus"
    with pytest.raises(SecretError, match="no session bus"):
        store.get("tracker")
    assert not (clean_home / "started").exists()
