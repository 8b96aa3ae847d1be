"""Which layers a build makes, finds, or makes again; with real caches, and a machine that only remembers its steps."""

import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest

from sandboxfile.applying import building
from sandboxfile.errors import BuildError, ControlError
from sandboxfile.host.layout import Layout, SandboxPaths
from sandboxfile.host.statedir import ensure_directories
from sandboxfile.images import composing, origins, store
from sandboxfile.images.config import Fetched, ImageConfig
from sandboxfile.model.template import BuildStep, DesiredTemplate, Origin, Recipe
from sandboxfile.resolve.templates import named

pytestmark = pytest.mark.anyio


def run(*words, place=""):
    return BuildStep("run", command=words, place=place)


def template(*steps, name="dev", content=""):
    return DesiredTemplate(
        name, named(Recipe(Origin("debian", "trixie"), steps, 7)), locked=bool(content), content=content
    )


@dataclass
class World:
    """What was done, in order: `fetch`, `boot N` on N layers, commands, `compose N` layers."""

    layout: Layout
    done: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    during: dict[str, Any] = field(default_factory=dict)  # what happens while a command runs

    async def build(self, wanted, **options):
        return await building.build_image(self.layout, wanted, self.told.append, **options)

    def since(self):
        done, self.done[:] = list(self.done), []
        return done


class Recorder:
    """Stands for an exporter."""

    async def export(self, target: Path, report: Any) -> None:
        with tarfile.open(target, "x"):
            pass

    async def put(self, tar: Path) -> None:
        pass


@pytest.fixture
def world(tmp_path, monkeypatch):
    layout = Layout(tmp_path / "state", tmp_path / "cache", tmp_path / "run")
    ensure_directories(layout)
    world = World(layout)
    paths = SandboxPaths(tmp_path / "machine", tmp_path / "machine.sock")

    async def fetch(layout, origin, work, epoch, report):
        world.done.append("fetch")
        with tarfile.open(work / "root.tar", "x") as tar:
            tar.addfile(tarfile.TarInfo("etc/motd"))
        return Fetched((work / "root.tar",), ImageConfig((("A", "1"),)), "sha256:1")

    async def boot(self, layers):
        world.done.append(f"boot {len(layers)}")
        self._stack.callback(world.done.append, "end")
        return building._Machine(paths, Recorder(), len(layers))

    async def run_step(control, step, epoch, report):
        world.done.append(" ".join(step.command))
        if (happens := world.during.pop(" ".join(step.command), None)) is not None:
            await happens()
        return {}

    async def compose(layers, directory, *, title, template, epoch, report):
        world.done.append(f"compose {len(layers)}")
        (directory / store.DISK).write_bytes(b"disk")
        composing.write_tree(directory / store.TREE, {})
        content = f"sha256:{'-'.join(layer.title for layer in layers)}"
        return {
            "content": content, "title": title, "template": template, "config": layers[-1].config.to_json(),
            "layers": [layer.key for layer in layers], "builds": [layer.build for layer in layers], "sealed": 1.0,
            "epoch": epoch, "origin_digest": layers[0].digest, "versions": {},
        }  # fmt: skip

    monkeypatch.setattr(origins, "_fetch", fetch)
    monkeypatch.setattr(building._Build, "_boot", boot)
    monkeypatch.setattr(building, "run_step", run_step)
    monkeypatch.setattr(building, "compose", compose)
    return world


async def test_all_steps_share_one_machine_that_ends_before_the_disk_is_made(world):
    image = await world.build(template(run("one"), run("two")))
    assert world.since() == ["fetch", "boot 1", "one", "two", "end", "compose 3"]
    assert image.config == ImageConfig((("A", "1"),))
    assert [layer.title for layer in store.find_chain(world.layout, image.layers, image.builds)][1:] == [
        "run: one",
        "run: two",
    ]
    assert store.find_image(world.layout, image.digest) is not None


async def test_what_is_built_is_not_built_again(world):
    first = await world.build(template(run("one")))
    world.since()
    assert (await world.build(template(run("one")))).builds == first.builds
    assert world.since() == []


async def test_only_what_is_above_a_change_is_built_again(world):
    await world.build(template(run("one"), run("two"), run("three")))
    world.since()
    await world.build(template(run("one"), run("TWO"), run("three")))
    assert world.since() == ["boot 2", "TWO", "three", "end", "compose 4"]
    assert "1 of 3 steps are in the cache" in world.told


async def test_a_build_without_steps_needs_no_machine(world):
    await world.build(template())
    assert world.since() == ["fetch", "compose 1"]


async def test_after_a_failure_the_steps_before_it_are_done(world):
    async def fail():
        raise BuildError("exit code 3", output="oops")

    world.during["two"] = fail
    wanted = template(run("one"), run("two", place="sandbox.yaml:7:9"))
    with pytest.raises(
        BuildError, match=r"step 2 of template dev failed \(exit code 3\): run: two \(sandbox.yaml:7:9\)"
    ) as caught:
        await world.build(wanted)
    assert caught.value.output == "oops"
    assert world.since() == ["fetch", "boot 1", "one", "two", "end"]
    assert store.images(world.layout) == []
    await world.build(wanted)
    assert world.since() == ["boot 2", "two", "end", "compose 3"]


async def test_a_machine_that_was_lost_is_a_failure_of_its_step(world):
    async def lose():
        raise ControlError("the sandbox's supervisor hung up", hint="look")

    world.during["one"] = lose
    with pytest.raises(BuildError, match="step 1 of template dev failed: the sandbox's supervisor hung up: run: one"):
        await world.build(template(run("one")))
    assert world.since()[-1] == "end"


async def test_a_cancelled_build_ends_its_machine_and_leaves_no_layer(world):
    world.during["one"] = anyio.sleep_forever
    with anyio.move_on_after(0.3):
        await world.build(template(run("one")))
    assert world.since()[-1] == "end"
    assert len(store.layers(world.layout)) == 1
    assert store.images(world.layout) == []


async def test_when_another_builder_was_faster_with_a_step_the_next_one_gets_a_machine_that_has_it(world, tmp_path):
    steps = run("one"), run("two"), run("three")
    keys = store.layer_keys(template(*steps).recipe)
    async with building._Build(world.layout, template(*steps), tmp_path, print, lambda _: True) as build:
        chain = [await building.origin_layer(world.layout, template().recipe.origin, 7, print)]
        chain.append(await build._layer(1, keys[1], chain))
        await world.build(template(*steps[:2], run("other"), name="other"))
        world.since()
        chain.append(await build._layer(2, keys[2], chain))
        assert world.since() == []
        chain.append(await build._layer(3, keys[3], chain))
        assert world.since() == ["end", "boot 3", "three"]


async def test_two_builders_of_one_template_at_once_build_once(world):
    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(world.build, template(run("one")))
    assert world.since() == ["fetch", "boot 1", "one", "end", "compose 2"]


async def test_fresh_builds_all_of_it_anew(world):
    first = await world.build(template(run("one")))
    world.since()
    again = await world.build(template(run("one")), fresh=True)
    assert world.since() == ["fetch", "boot 1", "one", "end", "compose 2"]
    assert set(first.builds).isdisjoint(again.builds)


async def test_an_image_that_is_not_what_the_lock_expects_says_so(world):
    image = await world.build(template(run("one"), content="sha256:other"))
    assert image.different == store.Difference("sha256:other")
    assert (await world.build(template(run("one"), content=image.content))).different is None
