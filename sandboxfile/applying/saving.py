"""A sandbox's disk as it is now becomes a saved template: the layers of its image, and what has changed since.

A running sandbox goes on. A stopped one is left alone: a copy of its disk runs in a machine that nobody sees. Mounts
(workspaces above all) are no part of it, nor are variables, which are on no disk. When layers of the image are no
longer in the cache, everything is taken out as one layer.
"""

import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from anyio import to_thread

from sandboxfile.applying.build_sandbox import build_sandbox
from sandboxfile.applying.exporting import Exporter, certificates, digests_of, known_of
from sandboxfile.applying.storage import Foundation
from sandboxfile.errors import BuildError, BusyError, NotFoundError, StateError
from sandboxfile.host.copying import copy_file
from sandboxfile.host.layout import Layout, SandboxPaths
from sandboxfile.host.statedir import is_locked, read_record, try_lock
from sandboxfile.images import store
from sandboxfile.images.composing import read_tree
from sandboxfile.images.containers import export
from sandboxfile.images.layers import tars
from sandboxfile.images.saved import SavedInfo, find_saved, save_layers
from sandboxfile.model.policy import NO_POLICY
from sandboxfile.names import SandboxId

Report = Callable[[str], None]


async def save_sandbox(layout: Layout, id: SandboxId, tag: str, report: Report, *, replace: bool = False) -> SavedInfo:
    """Save a sandbox under a tag. Raises NotFoundError, BusyError when the tag is taken, BuildError for a full disk."""
    paths = layout.sandbox(id)
    if not paths.root.exists():
        raise NotFoundError(f"there is no sandbox {id}")
    if not replace and find_saved(layout, tag) is not None:
        raise BusyError(f"there is a saved template {tag} already", hint="--replace replaces it")
    spec, image = read_record(paths).spec, read_image(paths)
    chain = store.find_chain(layout, image.layers, image.builds)
    whole = len(chain) == len(image.layers)
    try:
        async with _running(layout, id, report) as running, export.workspace(layout) as work:
            report("listing what has changed" if whole else "listing everything")
            exporter = await _exporter(paths, running, image, whole)
            tar, layer = work / "changes.tar", work / "changes.tar.zst"
            await exporter.export(tar, report)
            await tars.pack(tar, layer)
            tar.unlink()
            report("keeping it")
            layers = [*(each.tar for each in chain if whole), layer]
            facts = {"sandbox": str(id), "template": spec.template, "user": spec.user, "docker": spec.docker}
            keep = partial(save_layers, title=f"sandbox {id}", replace=replace)
            return await to_thread.run_sync(keep, layout, tag, layers, image.config, facts)
    except OSError as exc:
        raise BuildError(f"cannot save {id}: {exc.strerror or exc}", hint=f"make room in {layout.cache}") from exc


def read_image(paths: SandboxPaths) -> store.ImageInfo:
    """What a sandbox's image was, by the manifest beside its disk. Raises StateError when that cannot be read."""
    try:
        info = store.image_info(paths.root, json.loads(paths.image.read_bytes()))
    except (OSError, ValueError, RecursionError) as exc:
        raise StateError(f"cannot read {paths.image}: {exc}") from exc
    if info is None:
        raise StateError(f"{paths.image} is of another version of sbx", hint="make the sandbox anew")
    return info


async def _exporter(paths: SandboxPaths, running: SandboxPaths, image: store.ImageInfo, whole: bool) -> Exporter:
    """For what has changed since the image, or for everything."""
    authority = certificates(paths, running)
    if not whole:
        return Exporter(running.control, {}, 0.0, authority)
    tree = await to_thread.run_sync(read_tree, paths.tree)
    return Exporter(running.control, known_of(tree), image.sealed, authority, digests_of(tree))


@asynccontextmanager
async def _running(layout: Layout, id: SandboxId, report: Report) -> AsyncIterator[SandboxPaths]:
    """The sandbox when it runs, else a machine with a copy of its disk."""
    paths = layout.sandbox(id)
    if is_locked(paths.lock):
        yield paths
        return
    beneath = Foundation(paths.base, paths.tree, paths.image)

    async def copy(machine: SandboxPaths) -> None:
        lock = try_lock(paths.lock)
        if lock is None:
            raise BusyError(f"the sandbox {id} has just been started", hint="try again")
        try:
            machine.disk.unlink()
            report("copying the disk")
            await to_thread.run_sync(copy_file, paths.disk, machine.disk)
        finally:
            os.close(lock)

    async with build_sandbox(layout, beneath, f"copy of {id}", NO_POLICY, report, prepare=copy) as machine:
        yield machine
