"""The record of what was approved, which fails closed; and the ways to files, through whatever an agent may leave."""

import json
import os
import stat
import threading

import pytest

from sandboxfile.errors import StateError
from sandboxfile.host import trust, ways
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import write_record
from sandboxfile.host.trust import (
    Identity,
    Trust,
    approve,
    carry_over,
    expose,
    find_doubts,
    read_trust,
    remembered,
)
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
    expose(layout, dict.fromkeys([str(project)], frozenset()))
    assert states(layout, FileContent(str(project / "sandbox.yaml"), NEW)) == [("sandbox.yaml", "new")]


def test_a_sandbox_whose_record_cannot_be_read_may_have_everything(layout, project):
    recorded(layout, "/nowhere").record.write_text("{")
    assert states(layout, FileContent(str(project / "sandbox.yaml"), NEW)) == [("sandbox.yaml", "new")]


def test_the_absence_of_a_file_is_approved_like_content(layout, project):
    override = FileContent(str(project / "sandbox.override.yaml"), OLD)
    gone = FileContent(override.path, "")
    expose(layout, dict.fromkeys([str(project)], frozenset()))
    approve(layout, [override])
    expose(layout, {str(project): frozenset()})
    assert states(layout, gone) == [("sandbox.override.yaml", "gone")]
    approve(layout, [gone])
    assert states(layout, gone) == []
    assert states(layout, override) == [("sandbox.override.yaml", "new")]


def test_what_was_read_only_inside_since_it_was_approved_was_changed_by_who_is_at_the_host(layout, project):
    old = FileContent(str(project / "sandbox.yaml"), OLD)
    new = FileContent(old.path, NEW)
    kept = {str(project): frozenset({"sandbox.yaml", ".git/hooks"})}
    expose(layout, {str(project): frozenset()})
    assert states(layout, new) == [("sandbox.yaml", "new")]
    approve(layout, [old])
    expose(layout, kept)
    assert states(layout, new, FileContent(old.path, "")) == []
    assert states(layout, FileContent(str(project / ".env"), NEW)) == [(".env", "new")]


def test_a_file_is_in_doubt_again_when_one_sandbox_could_write_it(layout, project):
    old = FileContent(str(project / "sandbox.yaml"), OLD)
    new = FileContent(old.path, NEW)
    approve(layout, [old])
    expose(layout, {str(project): frozenset({"sandbox.yaml"}), str(project.parent): frozenset()})
    assert states(layout, new) == [("sandbox.yaml", "changed")]
    approve(layout, [new])
    assert states(layout, old) == []


def test_what_a_sandbox_that_goes_could_write_is_in_doubt_unless_somebody_has_just_looked(layout, project):
    files = [FileContent(str(project / name), OLD) for name in ("sandbox.yaml", "team.yaml")]
    approve(layout, files)
    expose(layout, {}, {str(project): frozenset()}, [files[0].path])
    now = [FileContent(file.path, NEW) for file in files]
    assert states(layout, *now) == [("team.yaml", "changed")]


def test_a_file_that_is_reached_through_a_link_is_never_taken_for_guarded(layout, project):
    (project / "inner").mkdir()
    (project / "link").symlink_to("inner")
    old = FileContent(str(project / "link" / "team.yaml"), OLD)
    approve(layout, [old])
    expose(layout, {str(project): frozenset({"link/team.yaml", "inner/team.yaml"})})
    assert states(layout, FileContent(old.path, NEW)) == [("team.yaml", "changed")]


# --- ways --------------------------------------------------------------------------------------------------------


def test_a_link_out_of_a_workspace_is_seen_whatever_it_leads_to(layout, project, clean_home):
    expose(layout, dict.fromkeys([str(project)], frozenset()))
    (clean_home / "evil.yaml").touch()
    (project / "policy.yaml").symlink_to(clean_home / "evil.yaml")
    assert states(layout, FileContent(str(project / "policy.yaml"), NEW)) == [("policy.yaml", "new")]
    assert states(layout, FileContent(str(clean_home / "evil.yaml"), NEW)) == []


@pytest.mark.parametrize("seen", ["project", "parent"])
def test_a_directory_that_was_moved_is_known_again(layout, project, clean_home, seen):
    expose(layout, dict.fromkeys([str(project if seen == "project" else clean_home)], frozenset()))
    moved = project.rename(clean_home / "shop2") if seen == "project" else project
    assert states(layout, FileContent(f"{moved}/sandbox.yaml", NEW)) == [("sandbox.yaml", "new")]
    (doubt,) = find_doubts(layout, [FileContent(f"{moved}/sandbox.yaml", NEW)])
    assert doubt.directory == str(moved if seen == "project" else clean_home)
    other = clean_home.parent / "never-exposed"
    assert states(layout, FileContent(f"{other}/sandbox.yaml", NEW)) == []


def known_as(monkeypatch, look):
    for module in (trust, ways):
        monkeypatch.setattr(module, "identity", look)


def test_another_directory_with_the_number_of_one_that_is_gone_is_not_taken_for_it(layout, project, monkeypatch):
    known_as(monkeypatch, lambda path: one._replace(generation=7))
    one = Identity(project.stat().st_dev, project.stat().st_ino)
    expose(layout, dict.fromkeys(["/elsewhere"], frozenset()))
    assert states(layout, FileContent(f"{project}/sandbox.yaml", NEW)) == [("sandbox.yaml", "new")]
    known_as(monkeypatch, lambda path: one._replace(generation=8))
    assert states(layout, FileContent(f"{project}/sandbox.yaml", NEW)) == []
    known_as(monkeypatch, lambda path: one)
    assert states(layout, FileContent(f"{project}/sandbox.yaml", NEW)) == [("sandbox.yaml", "new")]


def test_what_a_record_says_is_remembered_but_not_that_it_says_nothing(layout, project):
    paths = recorded(layout, project)
    assert remembered(layout, [SandboxId("other", "web"), SandboxId("other", "none")]).keys() == {str(project)}
    paths.record.write_text("{")
    assert remembered(layout, [SandboxId("other", "web")]) == {}


# --- the record --------------------------------------------------------------------------------------------------


def test_the_record_is_private_and_says_what_was_approved(layout):
    approve(layout, [FileContent("/a", OLD), FileContent("/b", OLD)])
    approve(layout, [FileContent("/a", NEW)])
    expose(layout, dict.fromkeys(["/w"], frozenset()))
    assert read_trust(layout) == Trust({"/a": NEW, "/b": OLD}, frozenset({"/w"}))
    assert stat.S_IMODE(layout.trust.stat().st_mode) == 0o600
    assert json.loads(layout.trust.read_bytes()) == {
        "version": 1,
        "approved": {"/a": NEW, "/b": OLD},
        "exposed": ["/w"],
        "opened": [],
        "identities": [],
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
        '{"version": 1, "approved": {}, "exposed": [], "identities": [[1, 2]]}',
        '{"version": 1, "approved": {}, "exposed": [], "identities": [[1, 2, "3"]]}',
        '{"version": 1, "approved": {}, "exposed": [], "identities": 3}',
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
        lambda: expose(layout, dict.fromkeys(["/w"], frozenset())),
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
    expose(layout, dict.fromkeys([str(project), "/gone/1", "/gone/2"], frozenset()))
    assert read_trust(layout).approved == {file.path: NEW}
    assert read_trust(layout).exposed == {str(project)}


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
