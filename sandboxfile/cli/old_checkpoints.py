"""Checkpoints that --checkpoint has made, and that are old: what room they take, and how they are given up."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from anyio import to_thread

from sandboxfile.cli.views.text import roughly
from sandboxfile.host.checkpoints import Checkpoint, is_before, list_checkpoints, remove_checkpoint
from sandboxfile.host.directories import checkpoint_owners
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import ensure_directories, hold_lock
from sandboxfile.images.prune import disk_use
from sandboxfile.names import SandboxId

Old = tuple[SandboxId, Checkpoint]


def find_old(layout: Layout, seconds: float) -> list[Old]:
    """Those that nobody gave a label, and that were made so long ago; of sandboxes that are gone as well."""
    since = datetime.now(UTC) - timedelta(seconds=seconds)
    owners = (SandboxId(project, name) for project, name in checkpoint_owners(layout))
    every = ((id, each) for id in owners for each in list_checkpoints(layout.sandbox(id)))
    return [(id, each) for id, each in every if is_before(each.label) and each.made_at <= since]


def room_taken(old: Collection[Old]) -> int:
    """Bytes that removing them frees."""
    seen: set[tuple[int, int]] = set()
    return sum(disk_use(each.paths.root, seen)[1] for _, each in old)


def in_words(old: Collection[Old]) -> str:
    """`made by --checkpoint long ago: 1.2 GiB (shop/web before-20261121-223405)`; empty when there are none."""
    named = ", ".join(f"{id} {each.label}" for id, each in old)
    return f"made by --checkpoint long ago: {roughly(room_taken(old))} ({named})" if old else ""


async def remove_old(layout: Layout, old: Collection[Old], timeout: float) -> None:
    """Delete them. Raises BusyError when a project is worked on."""
    ensure_directories(layout)
    for id, each in old:
        async with hold_lock(layout.project_lock(id.project), f"remove a checkpoint of {id}", timeout):
            await to_thread.run_sync(remove_checkpoint, layout.sandbox(id), each.label)
