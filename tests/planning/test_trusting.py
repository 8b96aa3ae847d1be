"""Which files have to be looked at, as a table: what is approved, what an agent could write to, what is there now."""

import pytest

from sandboxfile.model.desired import DesiredSandbox, DesiredState, FileContent, Image, Workspace
from sandboxfile.model.plan import (
    AttachWorkspace,
    CreateSandbox,
    DeleteSandbox,
    DetachWorkspace,
    Plan,
    PlanOptions,
    StartSandbox,
    Step,
    UpdateRecord,
)
from sandboxfile.names import SandboxId
from sandboxfile.planning.trusting import (
    closed_by,
    contents,
    covers,
    digest_of,
    digest_of_all,
    doubts,
    guards_of,
    not_as_approved,
)

FILE = "/home/me/shop/sandbox.yaml"
NEW, OLD = digest_of("new"), digest_of("old")
WORKSPACE = "/home/me/shop"


def found(digest=NEW, approved=None, exposed=(WORKSPACE,), way=("/home", "/home/me", WORKSPACE, FILE, FILE)):
    answer = doubts([FileContent(FILE, digest)], approved or {}, {FILE: way}, exposed)
    return [(doubt.state, doubt.directory) for doubt in answer]


@pytest.mark.parametrize(
    ("digest", "approved", "states"),
    [
        (NEW, {FILE: NEW}, []),
        (NEW, {FILE: OLD}, ["changed"]),
        (NEW, {}, ["new"]),
        ("", {FILE: OLD}, ["gone"]),
        ("", {}, []),
    ],
)
def test_what_is_as_it_was_approved_is_in_no_doubt(digest, approved, states):
    assert found(digest, approved) == [(state, WORKSPACE) for state in states]


@pytest.mark.parametrize(
    ("exposed", "doubtful"),
    [
        ((), False),
        (("/home/me/shop-2", "/home/me/sho", "/home/me/shop/src"), False),
        (("/home/me",), True),
        (("/",), True),
    ],
)
def test_only_what_a_sandbox_could_write_to_is_in_doubt(exposed, doubtful):
    assert bool(found(exposed=exposed)) == doubtful


def test_a_link_on_the_way_that_a_sandbox_can_turn_is_enough():
    way = (FILE, "/home/me/shop", "/home/me/shop/sandbox.yaml", "/etc/sandbox.yaml", "/etc/sandbox.yaml")
    assert found(way=way, exposed=("/home/me/shop",)) == [("new", "/home/me/shop")]
    assert found(way=("/srv/link", "/etc/sandbox.yaml", "/etc/sandbox.yaml"), exposed=("/home/me/shop",)) == []


def test_a_build_context_is_in_doubt_for_the_workspace_that_it_is_or_has_in_it():
    for directory in ("/home/me/shop", "/home/me/shop/src"):
        assert found(way=("/home", "/home/me", "/home/me/shop", "/home/me/shop"), exposed=(directory,))


def test_what_was_read_twice_and_was_not_the_same_has_another_digest_than_both():
    same, other = contents([("/a", NEW), ("/a", NEW)]), contents([("/a", OLD), ("/a", NEW)])
    assert same == (FileContent("/a", NEW),)
    assert other == contents([("/a", NEW), ("/a", OLD)])
    assert other[0].digest not in (NEW, OLD)
    assert not_as_approved(other, {"/a": NEW}) == other


def test_the_digest_of_all_goes_with_the_project_and_tells_files_apart():
    def of(base, *names, digest=NEW):
        return digest_of_all([FileContent(f"{base}/{name}", digest) for name in names], base)

    assert of("/home/me/shop", "a", "b") == of("/ci/1", "a", "b") == of("/ci/1", "b", "a")
    assert len({of("/x", "a"), of("/x", "b"), of("/x", "a", "b"), of("/x", "a", digest=OLD)}) == 4
    absent = FileContent("/x/sandbox.override.yaml", "")
    assert digest_of_all([FileContent("/x/a", NEW), absent], "/x") == of("/x", "a")


# --- plans -------------------------------------------------------------------------------------------------------


def sandbox(name="web", *workspaces, profiles=()):
    return DesiredSandbox(SandboxId("shop", name), "shell", Image("d"), workspaces=workspaces, profiles=profiles)


def test_a_plan_opens_the_directories_that_it_mounts_for_writing():
    operations = (
        CreateSandbox(sandbox("a", Workspace("/a", "/a", "rw"), Workspace("/ro", "/ro", "ro")), ""),
        UpdateRecord(sandbox("b", Workspace("/b", "/x", "rw")), ""),
        AttachWorkspace(SandboxId("shop", "c"), Workspace("/c", "/c", "rw")),
        AttachWorkspace(SandboxId("shop", "c"), Workspace("/d", "/d", "ro")),
        StartSandbox(SandboxId("shop", "a")),
    )
    steps = tuple(Step(str(number), operation, "") for number, operation in enumerate(operations))
    assert set(guards_of(Plan("shop", "f", steps=steps))) == {"/a", "/b", "/c"}


def test_a_plan_takes_from_the_record_what_the_sandboxes_can_or_could_write_to():
    operations = (
        CreateSandbox(sandbox("a"), ""),
        UpdateRecord(sandbox("b"), ""),
        DetachWorkspace(SandboxId("shop", "c"), "/c"),
        DeleteSandbox(SandboxId("shop", "d")),
        StartSandbox(SandboxId("shop", "e")),
    )
    steps = tuple(Step(str(number), operation, "") for number, operation in enumerate(operations))
    assert sorted(id.name for id in closed_by(Plan("shop", "f", steps=steps))) == ["b", "c", "d", "e"]


@pytest.mark.parametrize(
    ("options", "whole"),
    [
        (PlanOptions(), False),
        (PlanOptions(profiles=("ci",)), True),
        (PlanOptions(profiles=("*",)), True),
        (PlanOptions(profiles=("other",)), False),
        (PlanOptions(profiles=("ci",), only=("web",)), False),
        (PlanOptions(profiles=("ci",), only=("web", "tests")), True),
    ],
)
def test_who_sees_a_plan_for_some_sandboxes_has_not_seen_the_file(options, whole):
    desired = DesiredState("shop", "", (sandbox("tests", profiles=("ci",)), sandbox("web")))
    assert covers(desired, options) == whole
