"""The record of what was approved, which fails closed; and the ways to files, through whatever an agent may leave."""

import json
import os
import stat
import threading

import pytest

from sandboxfile.errors import StateError
from sandboxfile.host import trust
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import write_record
from sandboxfile.host.trust import Trust, approve, carry_over, expose, find_doubts, read_trust, way
from sandboxfile.model.desired import DesiredSandbox, FileContent, Image, Workspace
from sandboxfile.model.observed import Applied
from sandboxfile.names import SandboxId
from sandboxfile.planning.trusting import digest_of

OLD, NEW = digest_of("old"), digest_of("new")


@pytest.fixture
def layout(clean_home):
    return Layout(clean_home / "state", clean_home / "cache", clean_home / "run")


@pytest.fixture
def project(clean_home):
    place = clean_home / "shop"
    place.mkdir()
    (place / "sandbox.yaml").touch()
    return place


def recorded(layout, workspace, project="other", mode="rw"):
    id = SandboxId(project, "web")
    paths = layout.sandbox(id)
    paths.root.mkdir(parents=True)
    spec = DesiredSandbox(id, "shell", Image("d"), workspaces=(Workspace(str(workspace), "/x", mode),))
    write_record(paths, Applied(spec, "", "2026-01-02T03:04:05+00:00", 0))
    return paths


def states(layout, *files):
    return [(doubt.file.path.rpartition("/")[2], doubt.state) for doubt in find_doubts(layout, files)]


# --- doubts ------------------------------------------------------------------------------------------------------


def test_a_file_in_a_workspace_of_any_sandbox_on_record_is_in_doubt_until_it_is_approved(layout, project):
    file = FileContent(str(project / "sandbox.yaml"), NEW)
    assert states(layout, file) == []
    recorded(layout, project)
    assert states(layout, file) == [("sandbox.yaml", "new")]
    approve(layout, [file])
    assert states(layout, file) == []
    assert states(layout, FileContent(file.path, OLD)) == [("sandbox.yaml", "changed")]
    assert states(layout, FileContent(file.path, "")) == [("sandbox.yaml", "gone")]


def test_a_workspace_that_is_read_only_leaves_no_doubt(layout, project):
    recorded(layout, project, mode="ro")
    assert states(layout, FileContent(str(project / "sandbox.yaml"), NEW)) == []


def test_what_was_once_a_workspace_is_remembered_when_the_sandbox_is_gone(layout, project):
    expose(layout, [str(project)])
    assert states(layout, FileContent(str(project / "sandbox.yaml"), NEW)) == [("sandbox.yaml", "new")]


def test_a_sandbox_whose_record_cannot_be_read_may_have_everything(layout, project):
    recorded(layout, "/nowhere").record.write_text("{")
    assert states(layout, FileContent(str(project / "sandbox.yaml"), NEW)) == [("sandbox.yaml", "new")]


def test_the_absence_of_a_file_is_approved_like_content(layout, project):
    override = FileContent(str(project / "sandbox.override.yaml"), OLD)
    gone = FileContent(override.path, "")
    expose(layout, [str(project)])
    approve(layout, [override])
    assert states(layout, gone) == [("sandbox.override.yaml", "gone")]
    approve(layout, [gone])
    assert states(layout, gone) == []
    assert states(layout, override) == [("sandbox.override.yaml", "new")]


# --- ways --------------------------------------------------------------------------------------------------------


def test_a_way_has_every_link_and_directory_on_it(clean_home):
    (clean_home / "real").mkdir()
    (clean_home / "real/file").touch()
    (clean_home / "link").symlink_to("real")
    (clean_home / "second").symlink_to(clean_home / "link")
    passed = way(f"{clean_home}/second/file")
    assert {f"{clean_home}/{name}" for name in ("second", "link", "real", "real/file")} <= set(passed)
    assert passed[-1] == f"{clean_home}/real/file"


def test_a_directory_that_is_left_again_is_on_the_way(clean_home):
    passed = way(f"{clean_home}/shop/src/../../other/policy.yaml")
    assert f"{clean_home}/shop/src" in passed
    assert passed[-1] == f"{clean_home}/other/policy.yaml"


@pytest.mark.parametrize("target", ["loop", "nowhere/at/all", "file/below", "/"])
def test_a_way_that_leads_nowhere_ends_all_the_same(clean_home, target):
    (clean_home / "file").touch()
    (clean_home / "loop").symlink_to(target)
    assert f"{clean_home}/loop" in way(f"{clean_home}/loop/sandbox.yaml")


def test_a_link_out_of_a_workspace_is_seen_whatever_it_leads_to(layout, project, clean_home):
    expose(layout, [str(project)])
    (clean_home / "evil.yaml").touch()
    (project / "policy.yaml").symlink_to(clean_home / "evil.yaml")
    assert states(layout, FileContent(str(project / "policy.yaml"), NEW)) == [("policy.yaml", "new")]
    assert states(layout, FileContent(str(clean_home / "evil.yaml"), NEW)) == []


# --- the record --------------------------------------------------------------------------------------------------


def test_the_record_is_private_and_says_what_was_approved(layout):
    approve(layout, [FileContent("/a", OLD), FileContent("/b", OLD)])
    approve(layout, [FileContent("/a", NEW)])
    expose(layout, ["/w"])
    assert read_trust(layout) == Trust({"/a": NEW, "/b": OLD}, frozenset({"/w"}))
    assert stat.S_IMODE(layout.trust.stat().st_mode) == 0o600
    assert json.loads(layout.trust.read_bytes()) == {
        "version": 1,
        "approved": {"/a": NEW, "/b": OLD},
        "exposed": ["/w"],
    }


def test_to_look_writes_nothing(layout, project):
    states(layout, FileContent(str(project / "sandbox.yaml"), NEW))
    assert not layout.state.exists()


def test_a_name_that_is_no_utf8_is_kept(layout):
    path = os.fsdecode(b"/home/\xff")
    approve(layout, [FileContent(path, NEW)])
    assert read_trust(layout).approved == {path: NEW}


def test_an_edit_by_sbx_is_approved_only_where_the_file_was(layout):
    approve(layout, [FileContent("/a", OLD)])
    carry_over(layout, FileContent("/a", OLD), NEW)
    carry_over(layout, FileContent("/b", OLD), NEW)
    carry_over(layout, FileContent("/c", ""), NEW)
    assert read_trust(layout).approved == {"/a": NEW, "/c": NEW}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '{"version": 1, "approved": {}}',
        '{"version": 2, "approved": {}, "exposed": []}',
        '{"version": 1, "approved": [], "exposed": []}',
        '{"version": 1, "approved": {}, "exposed": {}}',
        '{"version": 1, "approved": {"/a": 3}, "exposed": []}',
        '{"version": 1, "approved": {"/a": "md5:3"}, "exposed": []}',
        '{"version": 1, "approved": {"a": "sha256:3"}, "exposed": []}',
        '{"version": 1, "approved": {}, "exposed": ["w"]}',
        '{"version": 1, "approved": {}, "exposed": [null]}',
        "[" * 100_000,
    ],
)
def test_a_record_that_is_not_wholly_right_approves_nothing_and_is_kept(layout, content):
    file = FileContent("/a", NEW)
    approve(layout, [file])
    layout.trust.write_text(content)
    uses = (
        lambda: find_doubts(layout, [file]),
        lambda: approve(layout, [file]),
        lambda: expose(layout, ["/w"]),
        lambda: carry_over(layout, file, OLD),
    )
    for use in uses:
        with pytest.raises(StateError) as failure:
            use()
        assert str(layout.trust) in failure.value.message
        assert "nothing is approved" in failure.value.hint
    assert layout.trust.read_text() == content


def test_a_record_that_others_may_write_approves_nothing(layout):
    approve(layout, [FileContent("/a", NEW)])
    layout.trust.chmod(0o666)
    with pytest.raises(StateError, match="others may write"):
        read_trust(layout)


def test_beyond_the_limit_only_what_is_gone_is_forgotten(layout, project, monkeypatch):
    monkeypatch.setattr(trust, "ENTRIES", 2)
    file = FileContent(str(project / "sandbox.yaml"), NEW)
    approve(layout, [file, FileContent("/gone/1", NEW), FileContent("/gone/2", NEW)])
    expose(layout, [str(project), "/gone/1", "/gone/2"])
    assert read_trust(layout) == Trust({file.path: NEW}, frozenset({str(project)}))


def test_two_who_approve_at_once_lose_nothing(layout):
    def some(first):
        for number in range(first, first + 20):
            approve(layout, [FileContent(f"/{number}", NEW)])

    threads = [threading.Thread(target=some, args=(first,)) for first in (100, 200, 300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_trust(layout).approved) == 60
