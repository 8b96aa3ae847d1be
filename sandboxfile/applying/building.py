"""A template's recipe becomes an image in the cache: layers first, from the lowest that is missing, then one disk.

Layers are kept as soon as they are whole, so a build that failed goes on where it stopped. The steps that need a
machine share one, which holds exactly the layers so far; when another builder was faster with one of them, the next
step gets a new machine. Whatever fails or is cancelled leaves no machine and no half image.
"""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from anyio import to_thread

from sandboxfile.applying import traffic
from sandboxfile.applying.build_sandbox import build_sandbox
from sandboxfile.applying.exporting import Exporter, certificates, digests_of, known_of
from sandboxfile.applying.saving import save_sandbox as save_sandbox
from sandboxfile.applying.steps import pack_files, run_step, title_of
from sandboxfile.applying.storage import foundation
from sandboxfile.errors import BuildError, ControlError, SandboxfileError
from sandboxfile.host.layout import Layout, SandboxPaths
from sandboxfile.images import cache, store
from sandboxfile.images.boot.platform import build_platform
from sandboxfile.images.composing import compose, read_tree
from sandboxfile.images.layers import tars
from sandboxfile.images.layers.tree import differences
from sandboxfile.images.origins import layer_facts, origin_layer, origin_title
from sandboxfile.images.packages import mmdebstrap
from sandboxfile.model.template import BuildStep, DesiredTemplate, Recipe

_FULL = 64 << 20  # bytes; with less room on the host a guest's writes fail, and its machine is paused
_TOLD = 100  # differences from what the lock expects
Report = Callable[[str], None]


async def build_image(
    layout: Layout, template: DesiredTemplate, report: Report, *, fresh: bool = False
) -> store.ImageInfo:
    """Find a template's image or build it. `fresh`: all of it anew, whatever the cache has.

    An image whose content is not what the lock expects says so in `different`. Raises BuildError: a step that failed,
    with its place and the end of its output; an origin that cannot be had; a full disk.
    """
    started = time.time()

    def accept(manifest: Mapping[str, Any]) -> bool:
        return not fresh or manifest["created"] >= started

    async def make(work: Path) -> Mapping[str, Any]:
        async with _Build(layout, template, work, report, accept) as build:
            layers = await build.layers()
        title = recipe_title(template.recipe)
        epoch = layers[0].epoch
        return await compose(layers, work, title=title, template=template.name, epoch=epoch, report=report)

    digest = template.recipe.digest
    found = await cache.build(layout.images, digest, make, report=report, remove=mmdebstrap.remove_tree, accept=accept)
    image = store.image_info(*found)
    if image is None:
        raise BuildError(f"the image {found[0]} is of another version of this program", hint=f"remove {found[0]}")
    if template.locked and template.content and template.content != image.content:
        return replace(image, different=await to_thread.run_sync(_difference, layout, template.content, image))
    return image


def recipe_title(recipe: Recipe) -> str:
    """What an image is made of, for people."""
    packages = f" + {' '.join(recipe.origin.packages)}" if recipe.origin.packages else ""
    steps = f" + {len(recipe.steps)} step{'s' * (len(recipe.steps) > 1)}" if recipe.steps else ""
    return f"{origin_title(recipe.origin)}{packages}{steps}"


def _difference(layout: Layout, expected: str, image: store.ImageInfo) -> store.Difference:
    """In what an image differs from the expected one, when that is in the cache as well."""
    other = next((found for found in store.images(layout) if found.content == expected), None)
    if other is None:
        return store.Difference(expected)
    found = differences(read_tree(other.tree), read_tree(image.tree), names=("locked", "built"))
    return store.Difference(expected, tuple(found[:_TOLD]))


@dataclass
class _Build:
    """One build of the layers of one image."""

    layout: Layout
    template: DesiredTemplate
    work: Path
    report: Report
    accept: cache.Accept
    _machine: "_Machine | None" = None
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def layers(self) -> Sequence[store.Layer]:
        """All layers, lowest first, each made unless it is there."""
        recipe = self.template.recipe
        keys = store.layer_keys(recipe)
        origin = await origin_layer(self.layout, recipe.origin, recipe.epoch, self.report, accept=self.accept)
        chain = [origin]
        there = store.find_chain(self.layout, keys)
        if len(there) > 1 and there[0].build == origin.build:
            chain = list(there)
            self.report(f"{len(there) - 1} of {len(recipe.steps)} steps are in the cache")
        for number in range(len(chain), len(keys)):
            chain.append(await self._layer(number, keys[number], chain))
        for layer in chain:
            store.mark_used(layer.directory)
        return chain

    async def _layer(self, number: int, key: str, beneath: Sequence[store.Layer]) -> store.Layer:
        """The layer of step `number` (from 1) upon those beneath."""
        step = self.template.recipe.steps[number - 1]

        async def make(work: Path) -> Mapping[str, Any]:
            self.report(f"step {number} of {len(self.template.recipe.steps)}: {title_of(step)}")
            try:
                return await self._make(step, beneath, work)
            except SandboxfileError as exc:
                raise self._failure(number, step, exc) from exc

        def accept(manifest: Mapping[str, Any]) -> bool:
            return bool(manifest["parent"] == beneath[-1].build)

        found = await cache.build(
            self.layout.layers, key, make, report=self.report, remove=mmdebstrap.remove_tree, accept=accept
        )
        layer = store.layer_info(*found)
        if layer is None:
            raise BuildError(f"the layer {found[0]} is of another version of this program", hint=f"remove {found[0]}")
        return layer

    async def _make(self, step: BuildStep, beneath: Sequence[store.Layer], work: Path) -> Mapping[str, Any]:
        tar = work / ".layer.tar"
        versions: Mapping[str, Any] = {}
        if step.kind == "files":
            await to_thread.run_sync(pack_files, step.files, tar, beneath[0].epoch)
            if self._machine is not None and self._machine.layers == len(beneath):
                await self._machine.exporter.put(tar)
                self._machine.layers += 1
        else:
            machine = await self._ready(beneath)
            versions = await run_step(machine.paths.control, step, beneath[0].epoch, self.report)
            await machine.exporter.export(tar, self.report)
            machine.layers += 1
        await tars.pack(tar, work / store.TAR)
        return layer_facts(title_of(step), beneath[-1].config.to_json(), parent=beneath[-1].build, versions=versions)

    async def _ready(self, beneath: Sequence[store.Layer]) -> "_Machine":
        """The machine, if it holds exactly these layers; else a new one."""
        if self._machine is None or self._machine.layers != len(beneath):
            self._machine = None
            await self._stack.aclose()
            self._stack = AsyncExitStack()
            self._machine = await self._boot(beneath)
        return self._machine

    async def _boot(self, layers: Sequence[store.Layer]) -> "_Machine":
        await build_platform(self.layout, self.report)
        name = self.template.name
        ready = await self._image(layers)
        paths = await self._stack.enter_async_context(
            build_sandbox(self.layout, foundation(ready), name, self.template.policy, self.report)
        )
        tree = await to_thread.run_sync(read_tree, paths.tree)
        exporter = Exporter(paths.control, known_of(tree), ready.sealed, certificates(paths), digests_of(tree))
        return _Machine(paths, exporter, len(layers))

    async def _image(self, layers: Sequence[store.Layer]) -> store.ImageInfo:
        """An image of these layers: one of the cache, or one that is made for this build alone."""
        builds = tuple(layer.build for layer in layers)
        epoch = layers[0].epoch
        for image in store.images(self.layout):
            if image.builds == builds and image.epoch == epoch:
                return image
        directory = self.work / f".beneath-{len(layers)}"
        directory.mkdir()
        facts = await compose(layers, directory, title="", template=self.template.name, epoch=epoch, report=self.report)
        manifest = {**facts, "version": cache.VERSION, "digest": "", "files": {}, "build": "", "created": time.time()}
        (directory / cache.MANIFEST).write_text(json.dumps(manifest))
        info = store.image_info(directory, manifest)
        assert info is not None
        return info

    def _failure(self, number: int, step: BuildStep, cause: SandboxfileError) -> BuildError:
        """What went wrong with a step, where it stands, and perhaps why."""
        code = cause.message.removeprefix("exit code ")
        how = f"failed ({cause.message})" if code != cause.message else f"failed: {cause.message}"
        message = f"step {number} of template {self.template.name} {how}: {title_of(step)}"
        hint, output = cause.hint, cause.output
        if isinstance(cause, ControlError) and _is_full(self.layout):
            message, hint = f"{message}; the disk is full", f"make room in {self.layout.state}"
        elif self._machine is not None and (blocked := traffic.blocked(self._machine.paths.network_log)):
            hint = f"its policy blocked {', '.join(blocked)}" + (f"; {hint}" if hint else "")
        where = f" ({step.place})" if step.place else ""
        return BuildError(message + where, hint=hint, command=cause.command, output=output)


@dataclass
class _Machine:
    """A build machine that holds the lowest `layers` layers."""

    paths: SandboxPaths
    exporter: Exporter
    layers: int


def _is_full(layout: Layout) -> bool:
    found = os.statvfs(layout.state)
    return found.f_bavail * found.f_frsize < _FULL
