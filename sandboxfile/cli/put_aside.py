"""Sandboxes that were put aside for `sbx rollback`: what room they take, and how they are given up."""

from anyio import to_thread

from sandboxfile.applying.storage import empty_trash
from sandboxfile.cli.views.text import roughly
from sandboxfile.host import history
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import ensure_directories, hold_lock
from sandboxfile.images.prune import disk_use


def room_taken(layout: Layout) -> int:
    """Bytes that giving them up frees."""
    return disk_use(history.kept_root(layout))[1]


def in_words(layout: Layout) -> str:
    """`put aside for sbx rollback: 1.2 GiB (shop)`; empty when nothing is."""
    projects = history.kept_projects(layout)
    if not projects:
        return ""
    return f"put aside for `sbx rollback`: {roughly(room_taken(layout))} ({', '.join(projects)})"


async def give_up(layout: Layout, timeout: float) -> None:
    """Delete them all. Going back then makes such sandboxes anew. Raises BusyError when a project is worked on."""
    ensure_directories(layout)
    for project in history.kept_projects(layout):
        async with hold_lock(layout.project_lock(project), "remove what was put aside", timeout):
            await to_thread.run_sync(history.sweep_kept, layout, project)
    await to_thread.run_sync(empty_trash, layout)
