"""`template build` over builds that behave: what is built, what is said, what an exit code means."""

import io
from dataclasses import replace

import pytest

from sandboxfile import pipeline
from sandboxfile.applying import building
from sandboxfile.cli.main import run
from sandboxfile.cli.views.console import Console
from sandboxfile.errors import BuildError
from sandboxfile.host.trust import approve, expose, read_trust
from sandboxfile.images import store
from sandboxfile.images.store import Difference

FILE = (
    "name: shop\ntemplates:\n  dev: {packages: {apt: [git]}}\n  other: {packages: {apt: [jq]}}\n"
    "sandboxes: {web: {template: dev}}\n"
)
EXPECTED = f"sha256:{'e' * 64}"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def sbx(project, environment, monkeypatch):
    """Run `sbx` in this process: gives its exit code, standard output and standard error."""
    (project / "sandbox.yaml").write_text(FILE)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(project)

    def call(*words, answer=None):
        kind = io.StringIO if answer is None else Terminal
        console = Console(io.StringIO(), kind(), kind(answer or ""))
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


@pytest.fixture
def in_doubt(project, layout):
    """The files here could have been written by a sandbox, and nobody approved them."""
    expose(layout, {str(project): frozenset()})


@pytest.mark.usefixtures("in_doubt")
@pytest.mark.parametrize("words", [("build",), ("build", "dev"), ("lock",), ("export", "dev")])
def test_nothing_is_built_from_files_in_doubt_where_nobody_is_asked(sbx, builds, project, words):
    code, _, err = sbx("template", *words)
    assert (code, builds.asked) == (1, [])
    assert f"{project}/sandbox.yaml: new, in the workspace {project}" in err
    assert "template " in err.partition("what the plan changes:")[2]
    assert "sbx trust" in err
    assert sbx("template", *words, answer="n\n")[0] == 1
    assert builds.asked == []


@pytest.mark.usefixtures("in_doubt")
def test_at_a_terminal_yes_builds_and_approves_nothing_else_that_the_files_say(sbx, builds, layout):
    code, _, err = sbx("template", "build", "dev", answer="y\n")
    assert (code, builds.asked) == (0, [("dev", False)])
    assert "stay to be approved" in err
    assert read_trust(layout).approved == {}


@pytest.mark.usefixtures("in_doubt")
def test_files_that_are_approved_are_built_from(sbx, builds, layout, project):
    loaded = pipeline.load(project / "sandbox.yaml", layout)
    approve(layout, loaded.everything)
    assert sbx("template", "build", "dev")[0] == 0
    assert builds.asked == [("dev", False)]


@pytest.mark.usefixtures("in_doubt")
def test_a_built_in_template_that_the_file_does_not_use_is_nobody_s_to_approve(sbx, builds):
    assert sbx("template", "build", "shell")[0] == 0
    assert builds.asked == [("shell", False)]


@pytest.mark.usefixtures("in_doubt")
def test_what_builds_nothing_asks_nothing(sbx, builds, recipe, make_image):
    make_image(recipe("dev"))
    assert sbx("template", "build", "dev")[0] == 0
