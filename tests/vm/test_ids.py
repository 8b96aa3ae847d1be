"""Which host ids stand for the guest's."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxfile.errors import HostError, StateError
from sandboxfile.host.layout import Layout
from sandboxfile.vm import ids
from sandboxfile.vm.ids import Extent, IdRange, RunAs, entries, extents, free_range, id_map

SUBUID = "# comment\nalice:100000:65536\n1234:300000:65536\nbroken:line\nbob:200000:100\n\nalice:500000:131072\n"


@pytest.fixture
def layout(tmp_path):
    (tmp_path / "state").mkdir()
    return Layout(tmp_path / "state", tmp_path / "cache", tmp_path / "run")


@pytest.fixture
def host(monkeypatch, tmp_path):
    """A host whose /etc/subuid and /etc/subgid the test writes, with uidmap installed and alice as 1001."""
    texts = {"/etc/subuid": "", "/etc/subgid": ""}
    monkeypatch.setattr(ids, "_read", lambda path: texts[str(path)])
    monkeypatch.setattr(ids, "_account", lambda uid: {1001: "alice", 1234: "carol", 1002: "bob"}[uid])
    monkeypatch.setattr(ids.shutil, "which", lambda program: f"/usr/bin/{program}")
    monkeypatch.setattr(ids, "_own_namespace", lambda: [IdRange(0, 2**32 - 1)])
    return texts


def test_the_agent_is_the_caller_and_all_others_are_subordinate():
    assert extents(1001, IdRange(100000, 65536)) == (
        *(Extent(0, 100000, 1000), Extent(1000, 1001, 1), Extent(1001, 101000, 64536)),
    )


@given(st.integers(2000, 1 << 20), st.integers(100000, 1 << 30), st.integers(0, 65535))
def test_a_map_uses_each_id_once_and_leaves_no_gap_inside(count, start, caller):
    found = extents(caller, IdRange(start, count))
    assert [e.inside for e in found] == [0, 1000, 1001]
    assert found[0].count == 1000
    outside = [IdRange(e.outside, e.count) for e in found]
    assert not any(a.overlaps(b) for a in outside for b in outside if a is not b)
    assert sum(e.count for e in found) == count + 1


def test_entries_are_found_by_name_or_number_and_junk_is_passed_over():
    assert entries(SUBUID, ("alice", "1001")) == [IdRange(100000, 65536), IdRange(500000, 131072)]
    assert entries(SUBUID, ("carol", "1234")) == [IdRange(300000, 65536)]
    assert entries(SUBUID, ("nobody",)) == []


def test_a_user_gets_the_largest_range_and_no_other_user_for_qemu(layout, host):
    host |= {"/etc/subuid": SUBUID, "/etc/subgid": SUBUID}
    found = id_map(layout, 1001, 1001)
    assert found.uids == found.gids == extents(1001, IdRange(500000, 131072))
    assert found.run_as is None
    assert not layout.host_record.exists()


@pytest.mark.parametrize("uid", [1002, 1234])
def test_a_user_without_enough_subordinate_ids_is_told_the_command(layout, host, uid):
    host |= {"/etc/subuid": SUBUID}
    with pytest.raises(HostError) as caught:
        id_map(layout, uid, uid)
    account = {1002: "bob", 1234: "carol"}[uid]
    assert f"usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {account}" in caught.value.hint


def test_missing_map_writers_are_named(layout, host, monkeypatch):
    monkeypatch.setattr(ids.shutil, "which", lambda program: None)
    with pytest.raises(HostError, match="newuidmap and newgidmap not installed") as caught:
        id_map(layout, 1001, 1001)
    assert caught.value.hint == "install them: apt install uidmap"


def test_root_chooses_a_free_range_once_and_keeps_it(layout, host):
    first = id_map(layout, 0, 0)
    start = first.uids[0].outside
    host |= {"/etc/subuid": f"mallory:{start}:65536\n"}
    assert id_map(layout, 0, 0) == first
    record = json.loads(layout.host_record.read_text())
    assert record == {"version": 1, "root_ids": {"start": start, "count": 65536}}


def test_roots_qemu_is_a_user_that_no_file_server_can_be(layout, host):
    found = id_map(layout, 0, 0)
    top = found.uids[0].outside + 65535
    assert found.run_as == RunAs(top, top)
    assert all(not e.outside <= top < e.outside + e.count for e in (*found.uids, *found.gids))
    assert found.uids[1] == Extent(1000, 0, 1)


def test_root_takes_its_own_entry_where_it_has_one(layout, host):
    host |= {"/etc/subuid": "root:100000:65536\n", "/etc/subgid": "root:100000:65536\n"}
    assert id_map(layout, 0, 0).uids[0].outside == 100000


def test_a_free_range_avoids_what_is_taken_and_what_is_not_ours():
    first = free_range([], [IdRange(0, 2**32 - 1)])
    assert first == IdRange(0x70000000, 65536)
    second = free_range([IdRange(first.start + 65535, 1)], [IdRange(0, 2**32 - 1)])
    assert second == IdRange(first.start + 65536, 65536)
    assert free_range([], [IdRange(0, 65536)]) is None


def test_root_in_a_small_namespace_is_told_what_to_do(layout, host, monkeypatch):
    monkeypatch.setattr(ids, "_own_namespace", lambda: [IdRange(0, 65536)])
    with pytest.raises(HostError, match="no 65536 unused user ids"):
        id_map(layout, 0, 0)
    assert not layout.host_record.exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 2}'])
def test_a_record_that_cannot_be_used_is_never_replaced_by_another_choice(layout, host, text):
    layout.host_record.write_text(text)
    with pytest.raises(StateError):
        id_map(layout, 0, 0)
    assert layout.host_record.read_text() == text
