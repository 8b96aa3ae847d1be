"""A file acts by name on the sandboxes of its own project only, whatever `name:` somebody has written into it."""

import pytest

from sandboxfile.cli.belonging import applied_as, others_told, refuse_foreign
from sandboxfile.errors import SandboxfileError
from sandboxfile.host.statedir import write_record
from sandboxfile.host.volumes import record_source
from sandboxfile.model.desired import DesiredSandbox, Image
from sandboxfile.model.observed import Applied
from sandboxfile.names import UNMANAGED, SandboxId, VolumeId

SHOP, PROD = SandboxId("shop", "web"), SandboxId("prod", "web")


@pytest.fixture
def files(project):
    """The sandbox files of two projects."""
    other = project.parent / "prod"
    other.mkdir()
    found = project / "sandbox.yaml", other / "sandbox.yaml"
    for file, name in zip(found, ("shop", "prod"), strict=True):
        file.write_text(f"name: {name}\nsandboxes: {{web: {{}}}}\n")
    return found


@pytest.fixture
def applied_from(layout):
    """Make a stopped sandbox of a file; without one, of none."""

    def make(id, file=""):
        paths = layout.sandbox(id)
        paths.root.mkdir(parents=True, mode=0o700)
        spec = DesiredSandbox(id, "shell", Image("d"))
        write_record(paths, Applied(spec, str(file), "2026-01-02T03:04:05+00:00", 0))
        for each in (paths.disk, paths.base, paths.lock):
            each.touch()
        return paths.root

    return make


@pytest.fixture
def both(files, applied_from):
    """Where the two `web` are."""
    return applied_from(SHOP, files[0]), applied_from(PROD, files[1])


# --- whose a project is ------------------------------------------------------------------------------------------


def test_a_project_of_another_file_is_refused(files, both, layout):
    with pytest.raises(SandboxfileError, match="belongs to") as caught:
        refuse_foreign("prod", files[0], layout)
    assert str(files[1]) in str(caught.value)
    assert "prod/NAME" in caught.value.hint


def test_a_wrong_file_is_not_of_another_ones_project_either(cli, files, applied_from):
    applied_from(PROD, files[1])
    files[0].write_text("name: prod\nsandboxes: {web: {nah: 1}}\n")
    assert "belongs to" in cli("drift", code=1).stderr


def test_one_that_only_has_volumes_left_is_refused_too(files, layout):
    paths = layout.volume(VolumeId("prod", "data"))
    paths.root.mkdir(parents=True)
    paths.disk.touch()
    record_source(paths, str(files[1]))
    with pytest.raises(SandboxfileError, match="belongs to"):
        refuse_foreign("prod", files[0], layout)


def test_a_file_that_was_applied_under_another_name_stands_for_neither(files, both, layout):
    files[1].unlink()
    for name in ("prod", "new"):
        with pytest.raises(SandboxfileError, match="was applied as 'shop'"):
            refuse_foreign(name, files[0], layout)


def test_its_own_project_one_that_nobody_has_and_one_renamed_and_applied_are_its_own(files, applied_from, layout):
    refuse_foreign("shop", files[0], layout)
    applied_from(SHOP, files[0])
    refuse_foreign("shop", files[0], layout)
    applied_from(SandboxId("store", "web"), files[0])
    refuse_foreign("store", files[0], layout)


def test_several_files_of_one_project_in_one_directory_stand_for_each_other(files, applied_from, layout):
    more = files[0].with_name("more.yaml")
    more.write_text(files[0].read_text())
    applied_from(SHOP, more)
    refuse_foreign("shop", files[0], layout)


def test_a_file_that_was_moved_stands_for_its_project(files, applied_from, layout):
    applied_from(SHOP, files[0].parent / "gone" / "sandbox.yaml")
    refuse_foreign("shop", files[0], layout)


def test_what_commands_made_and_what_cannot_be_read_says_nothing(files, applied_from, layout):
    applied_from(SandboxId(UNMANAGED, "web"))
    applied_from(SHOP, files[0])
    (applied_from(PROD, files[1]) / layout.sandbox(PROD).record.name).write_text("{")
    refuse_foreign("shop", files[0], layout)
    assert applied_as(files[1], layout) is None


def test_what_is_named_without_its_project_and_of_elsewhere_is_told(files, monkeypatch):
    monkeypatch.chdir(files[0].parent)
    sources = {SHOP: str(files[0]), PROD: str(files[1]), SandboxId(UNMANAGED, "box"): ""}
    assert list(others_told(["web"], sources, None)) == [f"web is prod/web, of {files[1]}"]
    assert list(others_told(["web", "prod/web"], sources, None)) == []
    assert list(others_told(["web"], sources, str(files[1]))) == [f"web is shop/web, of {files[0]}"]


# --- the commands ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("rm", "--yes"), ("rm", "--force"), ("start",), ("exec",), ("run",), ("fork",)])
def test_commands_by_name_leave_the_project_alone_that_an_agent_has_named(cli, files, both, words):
    files[0].write_text("name: prod\nsandboxes: {web: {}}\n")
    more = {"exec": ["true"], "fork": ["copy"]}.get(words[0], [])
    said = cli(words[0], *words[1:], "web", *more, code=125 if words[0] in ("exec", "run") else 1)
    assert "calls itself 'prod', and that project belongs to" in said.stderr
    assert all(each.exists() for each in both)


def test_a_rollback_leaves_it_alone_too(cli, files, both):
    files[0].write_text("name: prod\nsandboxes: {web: {}}\n")
    assert "belongs to" in cli("rollback", "--yes", code=1).stderr


def test_what_a_person_names_with_its_project_is_done(cli, files, both):
    files[0].write_text("name: prod\nsandboxes: {web: {}}\n")
    cli("rm", "shop/web", "--yes")
    assert [each.exists() for each in both] == [False, True]


def test_a_wrong_file_still_stands_for_what_it_was_applied_as(cli, files, both, applied_from):
    box = applied_from(SandboxId(UNMANAGED, "web"))
    files[0].write_text("name: [")
    cli("rm", "web", "--yes")
    assert not both[0].exists()
    assert both[1].exists()
    assert box.exists()


def test_where_the_only_one_of_a_name_is_from_is_said_before_it_goes(cli, files, applied_from):
    applied_from(PROD, files[1])
    assert f"web is prod/web, of {files[1]}" in cli("rm", "web", "--yes").stderr


def test_outside_of_any_project_the_name_is_enough(cli, files, applied_from, tmp_path):
    root = applied_from(SHOP, files[0])
    cli("rm", "web", "--yes", cwd=tmp_path)
    assert not root.exists()


def test_completion_tells_the_sandboxes_of_others_by_their_project(cli, files, both):
    files[0].write_text("name: prod\nsandboxes: {web: {}}\n")
    assert cli("complete-words", "--", "rm", "").stdout.split() == ["prod/web", "shop/web"]
