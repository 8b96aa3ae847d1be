"""`template build` over builds that behave: what is built, what is said, what an exit code means."""

import io
from dataclasses import replace

import pytest

from sandboxfile.applying import building
from sandboxfile.cli.main import run
from sandboxfile.cli.views.console import Console
from sandboxfile.errors import BuildError
from sandboxfile.images import store
from sandboxfile.images.store import Difference

FILE = (
    "name: shop\ntemplates:\n  dev: {packages: {apt: [git]}}\n  other: {packages: {apt: [jq]}}\n"
    "sandboxes: {web: {template: dev}}\n"
)
EXPECTED = f"sha256:{'e' * 64}"


@pytest.fixture
def sbx(project, environment, monkeypatch):
    """Run `sbx` in this process: gives its exit code, standard output and standard error."""
    (project / "sandbox.yaml").write_text(FILE)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(project)

    def call(*words):
        console = Console(io.StringIO(), io.StringIO(), io.StringIO())
        return run(words, console), console.out.getvalue(), console.err.getvalue()

    return call


@pytest.fixture
def builds(monkeypatch, layout, make_image):
    """Builds that take no time. `failing` and `different` by template; `asked` has what was built, and how."""

    class Builds:
        asked, failing, different = [], {}, {}

    make_image("7" * 64)
    result = Builds()

    async def build_image(given, template, report, *, fresh=False):
        assert given == layout
        result.asked.append((template.name, fresh))
        report("unpacking")
        if template.name in result.failing:
            raise result.failing[template.name]
        return replace(store.find_image(layout, "7" * 64), different=result.different.get(template.name))

    monkeypatch.setattr(building, "build_image", build_image)
    return result


@pytest.fixture
def recipe(sbx):
    """The digest of a template's recipe."""
    import json

    def of(name):
        (found,) = json.loads(sbx("template", "inspect", name, "--format", "json")[1])
        return found["digest"]

    return of


def test_without_names_all_of_the_file_are_built_and_with_names_those(sbx, builds):
    code, out, err = sbx("template", "build", "--parallel", "1")
    assert (code, out) == (0, "")
    assert builds.asked == [("dev", False), ("other", False)]
    assert "template dev: its image is not in the cache\ntemplate dev: unpacking\ntemplate dev: done in" in err
    builds.asked.clear()
    assert sbx("template", "build", "shell", "other", "shell")[0] == 0
    assert sorted(builds.asked) == [("other", False), ("shell", False)]


def test_what_is_built_is_built_again_only_when_asked_for_anew(sbx, builds, recipe, make_image):
    for name in ("dev", "other"):
        make_image(recipe(name))
    assert sbx("template", "build")[2].splitlines()[-1] == "nothing to do"
    assert builds.asked == []
    assert "template dev: asked for anew" in sbx("template", "build", "dev", "--fresh")[2]
    assert builds.asked == [("dev", True)]


def test_one_that_fails_hinders_no_other_and_is_told_at_the_end(sbx, builds):
    builds.failing["dev"] = BuildError("step 1 failed", hint="look", output="oops")
    code, _, err = sbx("template", "build")
    assert code == 1
    assert sorted(name for name, _ in builds.asked) == ["dev", "other"]
    assert "template dev: failed" in err
    assert err.endswith("error: template dev: step 1 failed\nhint: look\n  oops\n")


def test_a_bug_in_a_build_is_told_as_one(sbx, builds):
    builds.failing["dev"] = RuntimeError("ours")
    code, _, err = sbx("template", "build", "dev")
    assert code == 70
    assert "This is a bug in sandboxfile" in err


def test_content_that_the_lock_does_not_expect_is_told_with_the_difference(sbx, builds):
    builds.different["dev"] = Difference(EXPECTED, (("etc/motd", "content"),))
    code, _, err = sbx("template", "build", "dev")
    assert code == 0
    assert f"locked {EXPECTED}" in err
    assert "etc/motd  content" in err


def test_frozen_builds_nothing_that_is_not_locked(sbx, builds):
    code, _, err = sbx("template", "build", "--frozen")
    assert code == 1
    assert "`dev`, `other`" in err
    assert "sbx template lock" in err
    assert builds.asked == []


def test_frozen_builds_nothing_where_there_is_no_file_to_lock(sbx, builds, project):
    (project / "sandbox.yaml").unlink()
    assert "sandbox.lock does not hold shell" in sbx("template", "build", "--frozen", "shell")[2]
    assert builds.asked == []


def test_a_host_that_lacks_something_is_told_before_anything_is_built(sbx, builds, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    code, _, err = sbx("template", "build")
    assert code == 1
    assert "mmdebstrap" in err
    assert builds.asked == []


def test_without_a_file_there_is_nothing_to_build_but_what_is_named(sbx, builds, project):
    (project / "sandbox.yaml").unlink()
    assert "sbx init" in sbx("template", "build")[2]
    assert sbx("template", "build", "shell")[0] == 0
    assert builds.asked == [("shell", False)]
