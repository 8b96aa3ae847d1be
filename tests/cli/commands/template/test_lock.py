"""`template lock` over builds that take no time: what is written, kept and said; and --frozen elsewhere."""

import io
import json

import pytest

from sandboxfile.applying import building
from sandboxfile.cli.main import run
from sandboxfile.cli.views.console import Console
from sandboxfile.errors import BuildError
from sandboxfile.images import cache, store
from sandboxfile.model.lock import Lock, encode_lock, parse_lock

FILE = (
    "name: shop\ntemplates:\n"
    "  dev: {base: debian:trixie, packages: {apt: [git]}, files: [{source: motd, target: /m}]}\n"
    "  node: {base: 'oci:registry.example.com/node:1', packages: {npm: [typescript]}}\n"
    "sandboxes: {web: {template: dev}}\n"
)


@pytest.fixture
def sbx(project, environment, monkeypatch):
    """Run `sbx` in this process: gives its exit code and what it said."""
    (project / "sandbox.yaml").write_text(FILE)
    (project / "motd").write_text("hello")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(project)

    def call(*words, code=0):
        console = Console(io.StringIO(), io.StringIO(), io.StringIO())
        found = run(words, console)
        said = console.out.getvalue() + console.err.getvalue()
        assert found == code, said
        return said

    return call


@pytest.fixture
def world(monkeypatch):
    """Registries, mirrors and a builder. `versions` by manager; `built` names what was built, and how."""

    class World:
        digest = "a"
        epoch = 7  # now
        failing = ""

        def __init__(self):
            self.built, self.versions = [], {"apt": {"git": "2.47", "libc6": "2.41"}, "npm": {"typescript": "5.1"}}

        async def build_image(self, layout, template, report, *, fresh=False):
            recipe = template.recipe
            epoch = recipe.epoch or self.epoch
            self.built.append((template.name, fresh, recipe.origin.versions or recipe.origin.digest))
            if template.name == self.failing:
                raise BuildError("the registry is gone")
            parent, builds, keys = "", [], store.layer_keys(recipe)
            kinds = [{"debian": "apt"}.get(recipe.origin.kind, ""), *(step.kind for step in recipe.steps)]
            digest = f"sha256:{self.digest * 64}" if recipe.origin.kind == "oci" else ""
            for key, kind in zip(keys, kinds, strict=True):
                versions = {kind: sorted(self.versions[kind].items())} if kind in self.versions else {}
                facts = {"title": "t", "parent": parent, "config": {}, "origin_digest": digest}
                parent = await self._put(layout.layers, key, {**facts, "versions": versions, "epoch": epoch}, fresh)
                builds.append(parent)
            content = store.fingerprint([self.versions, self.digest, epoch])
            facts = {"content": f"sha256:{content}", "title": "t", "template": template.name, "config": {}}
            facts |= {"layers": list(keys), "builds": builds, "sealed": 5.0, "epoch": epoch, "origin_digest": digest}
            await self._put(layout.images, recipe.digest, {**facts, "versions": {}}, fresh)
            return store.find_image(layout, recipe.digest)

        async def _put(self, root, digest, facts, fresh):
            async def make(work):
                (work / store.DISK).write_bytes(b"x")
                return facts

            found = await cache.build(root, digest, make, report=print, accept=lambda manifest: not fresh)
            return found[1]["build"]

    result = World()
    monkeypatch.setattr(building, "build_image", result.build_image)
    return result


def lock_of(project):
    lock, problems = parse_lock((project / "sandbox.lock").read_text())
    assert problems == ()
    return lock


def test_everything_is_built_and_written_down(sbx, world, project):
    said = sbx("template", "lock")
    assert sorted(name for name, _, _ in world.built) == ["dev", "node"]
    assert "dev: locked, debian:trixie, 2 package versions" in said
    assert "node: locked, oci:registry.example.com/node:1@sha256:aaaaaaaaaaaa, 1 package versions" in said
    lock = lock_of(project)
    assert lock.templates["dev"].recipe.origin.versions == (("git", "2.47"), ("libc6", "2.41"))
    assert lock.templates["node"].recipe.origin.digest == f"sha256:{'a' * 64}"
    assert lock.templates["node"].recipe.steps[0].versions == (("typescript", "5.1"),)
    assert lock.templates["dev"].recipe.epoch == 7


def test_what_is_locked_is_not_built_again_whatever_registries_have_now(sbx, world, project):
    sbx("template", "lock")
    before = (project / "sandbox.lock").read_bytes()
    world.digest, world.built = "b", []
    assert "nothing new" in sbx("template", "lock")
    assert world.built == []
    assert (project / "sandbox.lock").read_bytes() == before
    assert "built already" in sbx("template", "build", "--frozen", "dev", "node")


def test_update_says_what_moved_and_writes_it(sbx, world, project):
    sbx("template", "lock")
    world.digest, world.versions["apt"]["git"] = "b", "2.48"
    said = sbx("template", "lock", "--update")
    assert "dev: apt git was 2.47, is 2.48" in said
    assert "node: base oci:registry.example.com/node:1 changed (sha256:aaaaaaaaaaaa… -> sha256:bbbbbbbbbbbb…)" in said
    assert {fresh for _, fresh, _ in world.built[2:]} == {True}
    assert lock_of(project).templates["dev"].recipe.origin.versions[0] == ("git", "2.48")


def test_an_update_that_finds_nothing_new_changes_nothing(sbx, world, project):
    sbx("template", "lock")
    before = (project / "sandbox.lock").read_bytes()
    world.epoch = 8
    said = sbx("template", "lock", "--update")
    assert "dev: as it was" in said
    assert "nothing new for" in said
    assert (project / "sandbox.lock").read_bytes() == before


def test_only_what_is_named_is_touched(sbx, world, project):
    sbx("template", "lock", "node")
    assert list(lock_of(project).templates) == ["node"]
    sbx("template", "lock", "dev")
    assert sorted(lock_of(project).templates) == ["dev", "node"]
    assert "did you mean node?" in sbx("template", "lock", "nod", code=1)


def test_what_has_not_changed_of_a_changed_template_keeps_its_pins(sbx, world, project):
    sbx("template", "lock")
    world.digest, world.versions["npm"]["jest"] = "b", "30"
    path = project / "sandbox.yaml"
    path.write_text(path.read_text().replace("[typescript]", "[jest, typescript]"))
    assert "packages.npm: + jest" in sbx("plan")
    world.built = []
    said = sbx("template", "lock")
    assert world.built == [("node", False, f"sha256:{'a' * 64}")]
    assert "node: packages.npm: + jest" in said
    assert "node: npm jest: + 30" in said


def test_what_is_no_longer_in_the_file_goes(sbx, world, project):
    sbx("template", "lock")
    path = project / "sandbox.yaml"
    path.write_text(FILE.replace(FILE.splitlines()[3] + "\n", ""))
    sbx("template", "lock", "dev")
    assert sorted(lock_of(project).templates) == ["dev", "node"]
    assert "node: no longer in the file" in sbx("template", "lock")
    assert list(lock_of(project).templates) == ["dev"]


def test_a_failed_build_leaves_the_lock_as_it_was(sbx, world, project):
    sbx("template", "lock", "dev")
    before = (project / "sandbox.lock").read_bytes()
    world.failing = "node"
    said = sbx("template", "lock", "--update", code=1)
    assert "template node: the registry is gone" in said
    assert (project / "sandbox.lock").read_bytes() == before


def test_commands_are_told_of_because_no_lock_holds_them(sbx, world, project):
    path = project / "sandbox.yaml"
    path.write_text(
        "templates: {dev: {base: debian:trixie, run: ['make install']}}\nsandboxes: {web: {template: dev}}\n"
    )
    assert "no lock holds run make install" in sbx("template", "lock")
    assert "locked but for run make install" in sbx("plan", "--frozen")


# --- --frozen ----------------------------------------------------------------------------------------------------


def test_frozen_checks_all_at_once_and_builds_nothing(sbx, world, project):
    assert "There is no lock file" in sbx("template", "lock", "--frozen", code=1)
    sbx("template", "lock")
    world.built = []
    assert "sandbox.lock holds dev, node" in sbx("template", "lock", "--frozen")
    (project / "motd").write_text("changed")
    path = project / "sandbox.yaml"
    path.write_text(path.read_text().replace("node:1", "node:2"))
    said = sbx("template", "lock", "--frozen", code=1)
    assert "files /m changed (sha256:" in said
    assert "base was oci:registry.example.com/node:1, is oci:registry.example.com/node:2" in said
    assert said.count("sbx template lock") == 2
    assert world.built == []


@pytest.mark.parametrize("command", [("plan",), ("up", "--yes"), ("template", "build", "dev")])
def test_commands_that_may_build_refuse_what_is_not_locked(sbx, world, project, command):
    assert "There is no lock file" in sbx(*command, "--frozen", code=1)
    sbx("template", "lock")
    (project / "motd").write_text("changed")
    world.built = []
    said = sbx(*command, "--frozen", code=1)
    assert "files /m changed" in said
    assert "sandbox.yaml:3:3" in said
    assert world.built == []


def test_a_template_that_nothing_uses_may_be_loose(sbx, world):
    sbx("template", "lock", "dev")
    said = sbx("plan", "--frozen")
    assert "warning: Not locked" in said
    assert "error" not in said


def test_an_image_in_the_cache_that_is_not_the_locked_one_is_refused(sbx, world, project):
    sbx("template", "lock")
    lock = json.loads((project / "sandbox.lock").read_text())
    lock["templates"]["dev"]["content"] = f"sha256:{'e' * 64}"
    (project / "sandbox.lock").write_text(json.dumps(lock))
    said = sbx("plan", "--frozen", code=1)
    assert "Not the locked image" in said
    assert "sbx template build --fresh dev" in said
    sbx("plan")


def test_a_wrong_lock_stops_everything_with_its_place(sbx, project):
    (project / "sandbox.lock").write_text('{"version": 1,\n "templates": {"dev": {}}}')
    said = sbx("plan", code=1)
    assert "sandbox.lock:2:16" in said
    assert "templates.dev.base" in said
    sbx("template", "lock", code=1)


def test_frozen_and_update_exclude_each_other(sbx, world, project):
    (project / "sandbox.lock").write_text(encode_lock(Lock()))
    assert "give one of them" in sbx("template", "lock", "--frozen", "--update", code=1)


def test_the_lock_is_protected_in_workspaces_like_the_sandbox_file(sbx, project):
    path = project / "sandbox.yaml"
    path.write_text("sandboxes: {web: {workspaces: [.]}}\n")
    found = json.loads(sbx("config", "--format", "json"))
    assert {"sandbox.yaml", "sandbox.lock"} <= set(found["sandboxes"]["web"]["workspaces"][0]["protect"])
