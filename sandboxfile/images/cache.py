"""A cache of directories named by what they were made from: `ROOT/DIGEST/` holds files and a manifest.

A directory appears by one rename when it is whole, and never changes afterwards. Builders of one digest take turns
under a lock; those who waited find the work done. What a killed builder left behind is swept by the next one.
Deleting any of it at any moment costs a rebuild and nothing else.
"""

import errno
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sandboxfile.errors import BuildError
from sandboxfile.host.durable import sync_directory

MANIFEST = "manifest.json"
VERSION = 2
POLL_SECONDS = 0.2
_WORK, _LOCK = ".build-", ".lock-"

type Manifest = dict[str, Any]
type Accept = Callable[[Manifest], bool]
type Remove = Callable[[Path], Awaitable[None]]


def find(root: Path, digest: str) -> tuple[Path, Manifest] | None:
    """The whole directory of `digest` and its manifest, or None: absent, of another version, or short of a file."""
    directory = root / digest
    try:
        manifest = json.loads((directory / MANIFEST).read_bytes())
        if manifest["version"] != VERSION or manifest["digest"] != digest:
            return None
        for name, size in manifest["files"].items():
            if (directory / name).stat().st_size != size:
                return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # an unreadable entry is rebuilt, whatever is wrong with it
    return directory, manifest


def everything(root: Path) -> list[tuple[Path, Manifest]]:
    """All that `find` would find, sorted by digest."""
    try:
        names = sorted(path.name for path in root.iterdir())
    except OSError:
        return []
    return [found for name in names if not name.startswith(".") and (found := find(root, name))]


def digests(root: Path) -> frozenset[str]:
    """Every digest that `find` would find."""
    return frozenset(directory.name for directory, _ in everything(root))


async def build(
    root: Path,
    digest: str,
    make: Callable[[Path], Awaitable[Mapping[str, Any]]],
    *,
    report: Callable[[str], None],
    remove: Remove | None = None,
    accept: Accept = lambda _: True,
) -> tuple[Path, Manifest]:
    """Find `digest`, or `make` it once however many ask at a time. Gives the directory and its manifest.

    `make` fills the empty directory it is given and returns what to remember; files that begin with a dot are
    scratch and are dropped. When it fails or is cancelled nothing is left. `remove` deletes a tree of `make`'s.
    What is found and not accepted is replaced. The manifest also has `build`, the name of this very build, and
    `created`, seconds since 1970. Raises BuildError when the cache cannot be written, and whatever `make` raises.
    """
    remove = remove or _remove
    if (found := find(root, digest)) and accept(found[1]):
        return found
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        async with _locked(root, digest, report):
            if (found := find(root, digest)) and accept(found[1]):
                return found
            await _sweep(root, digest, remove)
            return await _build(root, digest, make, remove)
    except OSError as exc:
        raise BuildError(
            f"cannot build into the cache {root}: {exc.strerror or exc}",
            hint="make room there" if exc.errno in (errno.ENOSPC, errno.EDQUOT) else None,
        ) from exc


async def _build(
    root: Path, digest: str, make: Callable[[Path], Awaitable[Mapping[str, Any]]], remove: Remove
) -> tuple[Path, Manifest]:
    work = Path(tempfile.mkdtemp(prefix=leftover_name(digest, ""), dir=root))
    try:
        facts = dict(await make(work))
        await _drop_scratch(work, remove)
        manifest = _seal(work, digest, facts)
        await _replace(work, root / digest, remove)
    finally:
        await _shielded(remove, work)
    return root / digest, manifest


def _seal(work: Path, digest: str, facts: Mapping[str, Any]) -> Manifest:
    """Put everything on the disk, the manifest last."""
    files = {}
    for path in sorted(work.iterdir()):
        path.chmod(0o444)
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
        files[path.name] = path.stat().st_size
    own = {"version": VERSION, "digest": digest, "files": files, "build": secrets.token_hex(8), "created": time.time()}
    manifest = {**facts, **own}
    with (work / MANIFEST).open("w") as stream:
        json.dump(manifest, stream, indent=1, sort_keys=True)
        stream.flush()
        os.fsync(stream.fileno())
    work.chmod(0o755)
    sync_directory(work)
    return manifest


async def _replace(work: Path, target: Path, remove: Remove) -> None:
    if target.exists():  # broken, or not accepted; out of sight first, for a half removed one must not be found
        old = target.with_name(leftover_name(target.name, secrets.token_hex(4)))
        target.rename(old)
        work.rename(target)
        await _shielded(remove, old)
    else:
        work.rename(target)
    sync_directory(target.parent)


async def _drop_scratch(work: Path, remove: Remove) -> None:
    for path in work.iterdir():
        if path.name.startswith("."):
            await remove(path)


async def _sweep(root: Path, digest: str, remove: Remove) -> None:
    """Remove what builders left that live no more: ours is locked by us, another digest's only if we get its lock."""
    for path in root.glob(f"{_WORK}*"):
        owner = owner_of_leftover(path.name)
        if owner == digest:
            await remove(path)
            continue
        descriptor = try_lock(root, owner)
        if descriptor is not None:
            try:
                await remove(path)
            finally:
                os.close(descriptor)


@asynccontextmanager
async def _locked(root: Path, digest: str, report: Callable[[str], None]) -> AsyncIterator[None]:
    import anyio  # here, because `find` and `digests` are for programs that build nothing

    descriptor = try_lock(root, digest)
    if descriptor is None:
        report("waiting for another build of the same")
        while (descriptor := try_lock(root, digest)) is None:  # noqa: ASYNC110 - another process wakes nobody here
            await anyio.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        os.close(descriptor)


def leftover_name(digest: str, unique: str) -> str:
    """What a builder's directory is called as long as it is not whole; the next builder sweeps those of the dead."""
    return f"{_WORK}{digest}-{unique}"


def owner_of_leftover(name: str) -> str:
    """The digest that a directory so called was to become; empty when it is none of these."""
    return name.removeprefix(_WORK).rpartition("-")[0] if name.startswith(_WORK) else ""


def is_busy(root: Path, digest: str) -> bool:
    """Whether somebody holds the lock of `digest`. Creates nothing."""
    from sandboxfile.host.statedir import is_locked  # here, as above

    return is_locked(root / f"{_LOCK}{digest}")


def forget_lock(root: Path, digest: str) -> None:
    """Remove the file of a lock that we hold, of a name that nobody else will ever use."""
    (root / f"{_LOCK}{digest}").unlink(missing_ok=True)


def try_lock(root: Path, digest: str) -> int | None:
    """A descriptor that holds the lock until it is closed, or None when somebody else has it."""
    from sandboxfile.host import statedir  # here, as above

    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    return statedir.try_lock(root / f"{_LOCK}{digest}")


async def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


async def _shielded(remove: Remove, path: Path) -> None:
    import anyio

    if not path.exists():
        return
    with anyio.CancelScope(shield=True):
        await remove(path)
