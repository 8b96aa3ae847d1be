"""Approvals: what has to be asked, and a record that fails closed."""

import json
import os
import stat
import threading

import pytest

from sandboxfile.errors import StateError
from sandboxfile.host.approvals import Approval, approvals_needed, approve, read_approvals, revoke, source_key
from sandboxfile.host.layout import Layout
from sandboxfile.model.credential import Credential, Injection, SecretSource

ONE = Approval("env TOKEN", "api.example.com", 443)
TWO = Approval("file /home/me/token", "2001:db8::1", 8443)


@pytest.fixture
def layout(clean_home):
    return Layout(clean_home / "state", clean_home / "cache", clean_home / "run")


def credential(source, *places, **fields):
    return Credential("tracker", source, tuple(Injection(host, port) for host, port in places), **fields)


# --- what is needed ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "key"),
    [
        (SecretSource("env", "TOKEN"), "env TOKEN"),
        (SecretSource("file", "/home/me/token"), "file /home/me/token"),
        (SecretSource("store", "tracker"), "store tracker"),
    ],
)
def test_a_source_is_approved_by_its_name(source, key):
    assert source_key(source) == key


def test_a_command_is_approved_by_its_words_and_not_by_how_they_look_together():
    keys = {source_key(SecretSource("command", command=words)) for words in (("a", "b"), ("a b",), ("a", "b", ""))}
    assert len(keys) == 3
    assert all(key.startswith("command sha256:") and len(key) == 15 + 64 for key in keys)


def test_each_place_of_a_secret_is_asked_once_and_nothing_that_is_known():
    source = SecretSource("env", "TOKEN")
    twice = credential(source, ("api.example.com", 443), ("api.example.com", 443), ("example.com", 8443))
    known = credential(SecretSource("env", "KEY"), ("api.example.com", 443), known=True)
    assert approvals_needed([twice, known, twice]) == (ONE, Approval("env TOKEN", "example.com", 8443))
    assert approvals_needed([credential(source)]) == ()


def test_a_place_is_written_as_in_a_file():
    assert ONE.place == "api.example.com:443"
    assert TWO.place == "[2001:db8::1]:8443"


# --- the record --------------------------------------------------------------------------------------------------


def test_what_was_approved_stays_until_it_is_taken_back(layout):
    assert read_approvals(layout) == frozenset()
    approve(layout, [ONE])
    approve(layout, [TWO, ONE])
    assert read_approvals(layout) == {ONE, TWO}
    revoke(layout, [ONE, Approval("env OTHER", "example.com", 1)])
    assert read_approvals(layout) == {TWO}
    assert stat.S_IMODE(layout.approvals.stat().st_mode) == 0o600
    assert json.loads(layout.approvals.read_bytes()) == {
        "version": 1,
        "approved": [{"source_key": "file /home/me/token", "host": "2001:db8::1", "port": 8443}],
    }


def test_to_look_writes_nothing(layout):
    read_approvals(layout)
    assert not layout.state.exists()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '{"version": 1}',
        '{"version": 2, "approved": []}',
        '{"version": 1, "approved": 3}',
        '{"version": 1, "approved": [3]}',
        '{"version": 1, "approved": [{}]}',
        '{"version": 1, "approved": [{"source_key": "env T", "host": "a", "port": 443, "more": 1}]}',
        '{"version": 1, "approved": [{"source_key": "env T", "host": "a", "port": true}]}',
        '{"version": 1, "approved": [{"source_key": "env T", "host": "a", "port": "443"}]}',
        '{"version": 1, "approved": [{"source_key": "env T", "host": "a", "port": 0}]}',
        '{"version": 1, "approved": [{"source_key": "env T", "host": ["a"], "port": 443}]}',
        "[" * 100_000,
    ],
)
def test_a_record_that_is_not_wholly_right_approves_nothing_and_is_kept(layout, content):
    approve(layout, [ONE])
    layout.approvals.write_text(content)
    for use in (lambda: read_approvals(layout), lambda: approve(layout, [TWO]), lambda: revoke(layout, [ONE])):
        with pytest.raises(StateError) as failure:
            use()
        assert str(layout.approvals) in failure.value.message
        assert "nothing is approved" in failure.value.hint
    assert layout.approvals.read_text() == content


def test_a_record_that_others_may_write_approves_nothing(layout):
    approve(layout, [ONE])
    layout.approvals.chmod(0o666)
    with pytest.raises(StateError, match="others may write"):
        read_approvals(layout)


def test_a_record_that_is_no_file_approves_nothing(layout):
    layout.state.mkdir(parents=True)
    os.mkfifo(layout.approvals)
    with pytest.raises(StateError, match="not a regular file"):
        read_approvals(layout)


def test_two_who_approve_at_once_lose_nothing(layout):
    def some(first):
        for port in range(first, first + 20):
            approve(layout, [Approval("env TOKEN", "example.com", port)])

    threads = [threading.Thread(target=some, args=(first,)) for first in (100, 200, 300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_approvals(layout)) == 60
