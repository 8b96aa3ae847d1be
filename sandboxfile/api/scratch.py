"""A state directory for a while: its sandboxes are nobody's but its holder's, and they are gone when it ends.

Only the state is its own. Kernels and images are those of the user's cache, and the secrets that the user has approved
are approved here; which files are, and what sandboxes could ever write to, is one record for both. Secrets that sbx
stores and saved templates are not here. Whoever holds a directory has its lock: what one leaves that was killed is
deleted by the next.
"""

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import anyio

from sandboxfile import pipeline
from sandboxfile.api.applying import nothing, succeeded
from sandboxfile.api.blocking import blocking
from sandboxfile.errors import HostError, SandboxfileError
from sandboxfile.host.approvals import approve, read_approvals
from sandboxfile.host.directories import sandbox_directories
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import ensure_directories, is_locked, locked_shortly, private_directory, try_lock
from sandboxfile.host.trust import share as share_trust
from sandboxfile.names import SandboxId

_LOCK, _KEPT = "lock", "kept"
_GATEWAY_PATIENCE = 20.0  # seconds for the gateway to see that nobody needs it; 1 is usual
_LOCK_PATIENCE = 30.0
_POLL = 0.05


class Scratch:
    """One such directory. `variables` of the environment lead to it: None for those that must not be set."""

    def __init__(self, root: Path, layout: Layout, variables: Mapping[str, str | None]) -> None:
        self.root = root
        self.layout = layout
        self.variables = variables

    def keep(self) -> None:
        """Leave it, and what is in it, for somebody to look at."""
        (self.root / _KEPT).touch()


@contextmanager
def scratch(environ: Mapping[str, str], name: str) -> Iterator[Scratch]:
    """A new one beside the state directory that `environ` leads to, among those called `name`.

    What is in it is deleted with the block, unless it is kept. Raises SandboxfileError when that cannot be done.
    """
    own = Layout.from_environment(environ, Path.home(), os.getuid())
    place = own.state.parent / name
    _sweep(place, environ)
    made, lock = _make(place, environ)
    try:
        if approved := read_approvals(own):
            approve(made.layout, approved)
        share_trust(own, made.layout)
        yield made
    finally:
        try:
            if not (made.root / _KEPT).exists():
                _empty(made.root, made.layout)
        finally:
            os.close(lock)


def _make(place: Path, environ: Mapping[str, str]) -> tuple[Scratch, int]:
    private_directory(place)
    made = _scratch(place / secrets.token_hex(4), environ)
    with locked_shortly(place / _LOCK):  # nobody takes it for a dead one before it is locked
        private_directory(made.root)
        lock = try_lock(made.root / _LOCK)
    if lock is None:
        raise HostError(f"{made.root} is somebody else's", hint="try again")
    ensure_directories(made.layout)
    return made, lock


def _scratch(root: Path, environ: Mapping[str, str]) -> Scratch:
    """Its files, and the variables that lead there: supervisors find them by these alone."""
    own = Layout.from_environment(environ, Path.home(), os.getuid())
    # SBX_HOME calls its cache otherwise than XDG does, so there is a second one beside it.
    cache = own.cache.parent if own.cache.name == own.config.name else own.cache.with_name("cache-of-tests")
    changed = {"XDG_STATE_HOME": str(root), "XDG_CACHE_HOME": str(cache)}
    rest = {name: value for name, value in environ.items() if name != "SBX_HOME"}
    layout = Layout.from_environment({**rest, **changed}, Path.home(), os.getuid())
    return Scratch(root, layout, {"SBX_HOME": None, **changed})


def _sweep(place: Path, environ: Mapping[str, str]) -> None:
    """Delete what dead ones left. One that cannot be is left to the next."""
    if not place.is_dir():
        return
    for root, lock in _dead(place):
        try:
            with suppress(SandboxfileError, OSError):
                _empty(root, _scratch(root, environ).layout)
        finally:
            os.close(lock)


def _dead(place: Path) -> list[tuple[Path, int]]:
    """Directories that nobody holds or wants, with their locks, which we hold now."""
    found = []
    with locked_shortly(place / _LOCK):
        for root in sorted(place.iterdir()):
            if root.is_dir() and not root.is_symlink() and not (root / _KEPT).exists():
                lock = try_lock(root / _LOCK)
                if lock is not None:
                    found.append((root, lock))
    return found


def _empty(root: Path, layout: Layout) -> None:
    """Stop and delete every sandbox, protected ones too, and then the directory."""
    blocking(partial(_remove_all, layout))
    blocking(partial(_gateway_is_gone, layout))
    shutil.rmtree(root)


async def _remove_all(layout: Layout) -> None:
    from sandboxfile.applying.storage import sweep_builds

    if not layout.state.is_dir():
        return
    ids = [SandboxId(project, name) for project, name in sandbox_directories(layout)]
    for plan in await pipeline.make_verb_plans("remove", ids, layout, allow_destroy=True):
        if plan.steps:
            succeeded(await pipeline.apply_plan(plan, layout, nothing, lock_timeout=_LOCK_PATIENCE))
    await anyio.to_thread.run_sync(sweep_builds, layout)


async def _gateway_is_gone(layout: Layout) -> None:
    with anyio.move_on_after(_GATEWAY_PATIENCE):
        while True:
            if not is_locked(layout.gateway_lock):
                return
            await anyio.sleep(_POLL)
