"""The record of what was approved, which fails closed; and the ways to files, through whatever an agent may leave."""

import json
import os
import stat
import threading

import pytest

from sandboxfile.errors import StateError
from sandboxfile.host import births, seals, trust, ways
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
    share,
    unseal_exchanged,
    written_from,
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


@pytest.fixture
def kept(layout, project):
    """The file of the project with OLD in it, approved and read-only inside; and what does so."""
    path = project / "sandbox.yaml"
    path.write_text("old")
    approve(layout, [FileContent(str(path), OLD)])
    return {str(project): frozenset({"sandbox.yaml", ".git/hooks"})}


def edited(project, text="new"):
    """An edit in place, as it is found on the disk."""
    path = project / "sandbox.yaml"
    path.write_text(text)
    return FileContent(str(path), digest_of(text))


def test_a_file_that_nothing_inside_could_have_was_changed_in_place_by_who_is_at_the_host(layout, project, kept):
    expose(layout, kept)
    assert states(layout, edited(project)) == []
    assert states(layout, FileContent(str(project / ".env"), NEW)) == [(".env", "new")]
    expose(layout, kept, {}, {str(project)})
    assert states(layout, edited(project, "newer")) == []


def test_a_file_that_was_exchanged_has_to_be_looked_at_until_nothing_inside_had_it(layout, project, kept):
    path = project / "sandbox.yaml"
    expose(layout, kept)
    (project / "new").write_text("new")
    (project / "new").rename(path)
    file = FileContent(str(path), NEW)
    assert states(layout, file) == [("sandbox.yaml", "changed")]
    approve(layout, [file])
    expose(layout, kept, {}, {str(project)})
    assert states(layout, edited(project, "newer")) == [("sandbox.yaml", "changed")]
    edited(project)
    expose(layout, kept)
    assert states(layout, edited(project, "newer")) == []


def test_what_differs_from_what_was_approved_is_not_sealed(layout, project, kept):
    """A sandbox that starts as it was approves nothing of what an agent wrote before."""
    changed = edited(project)
    expose(layout, kept)
    assert read_trust(layout).seals == {}
    assert states(layout, changed) == [("sandbox.yaml", "changed")]


def test_a_file_with_another_name_is_not_sealed_and_its_seal_does_not_count(layout, project, kept):
    other = project / "linked"
    other.hardlink_to(project / "sandbox.yaml")
    expose(layout, kept)
    assert read_trust(layout).seals == {}
    other.unlink()
    expose(layout, kept)
    assert states(layout, edited(project)) == []
    other.hardlink_to(project / "sandbox.yaml")
    assert states(layout, edited(project)) == [("sandbox.yaml", "changed")]


def test_what_is_gone_or_is_not_what_was_read_has_to_be_looked_at(layout, project, kept):
    expose(layout, kept)
    edited(project)
    assert states(layout, FileContent(str(project / "sandbox.yaml"), digest_of("read before"))) != []
    (project / "sandbox.yaml").unlink()
    assert states(layout, FileContent(str(project / "sandbox.yaml"), "")) == [("sandbox.yaml", "gone")]


def test_a_number_that_is_used_again_is_another_file(layout, project, kept, monkeypatch):
    expose(layout, kept)
    file = edited(project)
    look = seals.look
    monkeypatch.setattr(trust, "look", lambda path: (look(path)[0]._replace(born=1), look(path)[1]))
    assert states(layout, file) == [("sandbox.yaml", "changed")]


def test_where_nobody_knows_when_files_were_made_none_is_sealed(layout, project, kept, monkeypatch):
    monkeypatch.setattr(births, "born", lambda handle: None)
    expose(layout, kept)
    assert read_trust(layout).seals == {}


@pytest.mark.parametrize("mode", ["opened", "left", "recorded"])
def test_a_file_is_in_doubt_again_when_one_sandbox_could_write_it(layout, project, kept, mode):
    expose(layout, kept)
    wide = {str(project.parent): frozenset()}
    if mode == "recorded":
        recorded(layout, project.parent)
        expose(layout, kept)
    else:
        expose(layout, {**kept, **wide} if mode == "opened" else kept, wide if mode == "left" else {}, {str(project)})
    changed = edited(project)
    assert states(layout, changed) == [("sandbox.yaml", "changed")]
    approve(layout, [changed])
    assert states(layout, edited(project, "newer")) == [("sandbox.yaml", "changed")]


def test_a_file_that_is_reached_through_a_link_is_never_sealed(layout, project):
    (project / "inner").mkdir()
    (project / "link").symlink_to("inner")
    (project / "inner/team.yaml").write_text("old")
    old = FileContent(str(project / "link" / "team.yaml"), OLD)
    approve(layout, [old])
    expose(layout, {str(project): frozenset({"link/team.yaml", "inner/team.yaml"})})
    (project / "inner/team.yaml").write_text("new")
    assert states(layout, FileContent(old.path, NEW)) == [("team.yaml", "changed")]


@pytest.mark.parametrize("since", [True, False])
def test_a_bind_mount_of_a_directory_is_that_directory(layout, project, kept, monkeypatch, since):
    """Of which a test can make none: it is what has the same identity."""
    bound = "/srv/bound"
    monkeypatch.setattr(trust, "identity", lambda path: ways.identity(str(project) if path == bound else path))
    expose(layout, kept)
    assert read_trust(layout).seals
    if since:
        expose(layout, {bound: frozenset()})
        assert read_trust(layout).seals == {}
    recorded(layout, bound)
    assert states(layout, edited(project)) == [("sandbox.yaml", "changed")]
    approve(layout, [edited(project)])
    expose(layout, kept)
    assert read_trust(layout).seals == {}
    assert written_from(layout, str(project / "sandbox.yaml")) == bound


def test_what_was_moved_away_while_something_inside_could_have_it_is_sealed_no_more(layout, project, kept):
    workspace = Workspace(str(project), "/x", "rw", ("sandbox.yaml", ".env"))
    unseal_exchanged(layout, workspace)
    expose(layout, kept)
    before = read_trust(layout).seals
    unseal_exchanged(layout, workspace)
    assert read_trust(layout).seals == before != {}
    (project / "sandbox.yaml").rename(project / "backup")
    (project / "sandbox.yaml").write_text("old")
    unseal_exchanged(layout, workspace)
    (project / "backup").rename(project / "sandbox.yaml")
    assert states(layout, edited(project)) == [("sandbox.yaml", "changed")]


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


@pytest.mark.parametrize("approved", ["before", "after"])
def test_a_project_that_was_moved_out_of_what_was_exposed_is_known_again(layout, project, clean_home, approved):
    files = [FileContent(f"{project}/sandbox.yaml", OLD)]
    approve(layout, files if approved == "before" else [])
    expose(layout, {str(clean_home): frozenset()})
    approve(layout, files if approved == "after" else [])
    moved = project.rename(clean_home.parent / f"moved-{clean_home.name}")
    assert states(layout, FileContent(f"{moved}/sandbox.yaml", NEW)) == [("sandbox.yaml", "new")]


def test_of_many_directories_those_are_forgotten_that_were_exposed_longest_ago(layout, clean_home, monkeypatch):
    monkeypatch.setattr(trust, "ENTRIES", 2)
    for name in ("a", "b", "a", "c"):
        (clean_home / name).mkdir(exist_ok=True)
        expose(layout, {str(clean_home / name): frozenset()})
    assert [each.inode for each in read_trust(layout).identities] == [
        (clean_home / name).stat().st_ino for name in ("a", "c")
    ]


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
        "seals": {},
        "identities": [],
    }


def test_a_record_of_before_there_were_seals_has_none(layout, project, kept):
    fields = json.loads(layout.trust.read_bytes())
    del fields["seals"]
    layout.trust.write_text(json.dumps({**fields, "exposed": [str(project)], "opened": []}))
    assert states(layout, edited(project)) == [("sandbox.yaml", "changed")]


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
        '{"version": 1, "approved": {}, "exposed": [], "seals": 3}',
        '{"version": 1, "approved": {}, "exposed": [], "seals": {"/a": [1, 2]}}',
        '{"version": 1, "approved": {}, "exposed": [], "seals": {"a": [1, 2, 3]}}',
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


def test_another_state_directory_goes_by_the_same_record_and_seals_nothing(layout, project, clean_home):
    other = Layout(clean_home / "scratch", clean_home / "cache", clean_home / "run")
    other.state.mkdir()
    share(layout, other)
    file = FileContent(str(project / "sandbox.yaml"), NEW)
    expose(layout, {str(project): frozenset()})
    assert [doubt.state for doubt in find_doubts(other, [file])] == ["new"]
    approve(other, [file])
    assert find_doubts(layout, [file]) == ()
    (project / "sandbox.yaml").write_text("new")
    expose(other, {str(project): frozenset(["sandbox.yaml"]), "/more": frozenset()})
    assert read_trust(layout).seals == {}
    assert read_trust(layout).exposed == {str(project), "/more"}
    assert other.trust.is_symlink()


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
