"""A sandbox file as a program sees it."""

import pytest

from sandboxfile.api import InvalidFile, Sandbox, load
from sandboxfile.errors import NotFoundError
from sandboxfile.names import SandboxId


def test_a_right_file_is_a_project_with_its_sandboxes(file):
    project = load(file)
    assert (project.name, project.names, project.path) == ("shop", ("web",), file)
    assert project["web"] == Sandbox(SandboxId("shop", "web"))
    assert list(project) == [project["web"]]
    assert len(project) == 1
    assert project.warnings == ()
    with pytest.raises(NotFoundError, match="has no sandbox wbe") as caught:
        project["wbe"]
    assert "web" in caught.value.__notes__[0]


def test_without_a_path_it_is_the_nearest_file_above(file, monkeypatch):
    below = file.parent / "src/deep"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert load().name == "shop"
    file.unlink()
    with pytest.raises(NotFoundError, match=r"no sandbox\.yaml here or in a directory above"):
        load()


def test_all_that_is_wrong_is_in_one_error_with_its_place(file):
    file.write_text("name: shop\nsandboxes:\n  web: {colour: red, resources: {cpus: many}}\n")
    with pytest.raises(InvalidFile) as caught:
        load(file)
    assert len(caught.value.diagnostics) == 2
    said = str(caught.value)
    assert f"{file}:3:9" in said
    assert "3 |   web: {colour: red, resources: {cpus: many}}" in said
    assert said.count("error:") == 2


def test_warnings_are_kept_and_stop_nothing(file):
    file.write_text("name: shop\nsandboxes: {web: {policy: {allow: [{host: a.example.com, until: 2001-01-01}]}}}\n")
    project = load(file)
    assert [warning.severity for warning in project.warnings] == ["warning"]


def test_frozen_needs_a_lock(file):
    with pytest.raises(InvalidFile, match="lock"):
        load(file, frozen=True)


def test_values_come_from_files_that_are_given(file, tmp_path):
    file.write_text("name: shop\nsandboxes: {web: {env: {COLOUR: '${COLOUR}'}}}\n")
    values = tmp_path / "values"
    values.write_text("COLOUR=red\n")
    [web] = load(file, env_files=[values]).desired.sandboxes
    assert dict(web.env)["COLOUR"] == "red"


def test_an_override_counts_only_for_the_file_that_is_found(file):
    (file.parent / "sandbox.override.yaml").write_text("sandboxes: {db: {}}\n")
    assert load().names == ("db", "web")
    assert load(file).names == ("web",)


def test_of_several_files_each_lies_upon_those_before_it(file):
    more = file.parent / "more" / "ci.yaml"
    more.parent.mkdir()
    more.write_text("sandboxes: {db: {}, web: {protect: true}}\n")
    project = load([file, str(more)])
    assert (project.path, project.names) == (file, ("db", "web"))
    assert project.desired.sandboxes[1].protect
    assert load([file]).desired == load(file).desired
    with pytest.raises(ValueError, match="empty list"):
        load([])
    with pytest.raises(NotFoundError, match="missing"):
        load([file, file.parent / "missing.yaml"])
