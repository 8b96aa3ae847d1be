"""buildah, podman and docker: taking an image out of their stores, and clearing up after a build. The door to them.

The names, tags and images in a store are the user's: nothing here adds, moves or removes one. What a build of ours
leaves when it is killed (working containers) is known by its mark, a build argument that names the build's directory.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio.to_thread

from sandboxfile.errors import BuildError
from sandboxfile.host.builders import CHOICE, ENGINES, Builder, Engine, find_builder
from sandboxfile.images.containers.children import FULL, run_tied
from sandboxfile.images.containers.growth import amount, watched
from sandboxfile.images.packages.mmdebstrap import SUBORDINATE, environment

MARK = "SBX_BUILD_DIRECTORY"
FEW_IDS = re.compile("insufficient UIDs or GIDs|lchown .*: invalid argument|newuidmap")
INSTALL = "install one of buildah, podman, docker (Debian: apt install buildah), or start docker's daemon"
# The image `ID` into a file that `docker save` could have written.
SAVE: dict[Engine, Callable[[str, Path], tuple[str, ...]]] = {
    "buildah": lambda id, target: ("push", "--quiet", id, f"docker-archive:{target}"),
    "podman": lambda id, target: ("save", "--quiet", "--format", "docker-archive", "--output", str(target), id),
    "docker": lambda id, target: ("save", "--output", str(target), id),
}
STORE: dict[Engine, str] = {"buildah": "{{.store.GraphRoot}}", "podman": "{{.Store.GraphRoot}}"}


async def builder() -> Builder:
    """The program that builds here. Raises BuildError when none works, or not the one that SBX_BUILDER names."""
    if found := await anyio.to_thread.run_sync(find_builder):
        return found
    if wanted := environment().get(CHOICE):
        known = "" if wanted in ENGINES else f" (it can be {', '.join(ENGINES)})"
        raise BuildError(f"{CHOICE} asks for {wanted}, which does not work here{known}", hint=f"unset {CHOICE}")
    raise BuildError(
        "no program of this host builds Dockerfiles: neither buildah, podman nor docker works", hint=INSTALL
    )


async def save(engine: Engine, id: str, work: Path, report: Callable[[str], None]) -> Path:
    """Take the image with this id out of the store, into an archive below `work`. Raises BuildError."""
    target = work / "image.tar"
    command = (engine, *SAVE[engine](id.removeprefix("sha256:"), target))

    def look(size: int) -> None:
        report(f"taking the image from {engine}, {amount(size)}")

    report(f"taking the image from {engine}")
    async with watched(target, look):
        ended = await run_tied(command, env=scratch_environment(work), hint=INSTALL)
    if ended.code != 0:
        raise explain(BuildError(f"cannot take {id} from {engine}", command=command, output=ended.said))
    return target


def scratch_environment(work: Path) -> dict[str, str]:
    """For programs that leave large temporary files behind when they are killed: below `work`, where they are found."""
    scratch = work / "scratch"
    scratch.mkdir(exist_ok=True)
    return {**environment(), "TMPDIR": str(scratch)}


async def sweep(engine: Engine, done: Path | None = None) -> None:
    """Remove the working containers of builds whose directory is gone, and those of the build in `done`.

    Docker's daemon does this itself. Never raises: what cannot be removed now is there for the next sweep.
    """
    if engine == "docker":
        return
    with anyio.CancelScope(shield=True), anyio.move_on_after(30):
        ended = await run_tied((engine, "info", "--format", STORE[engine]), env=environment())
        root = Path(ended.output.decode(errors="replace").strip())
        if ended.code != 0 or not root.is_absolute():
            return
        for file in sorted(root.glob("*-containers/*/userdata/buildah.json")):
            directory = _marked(file)
            if directory is not None and (directory == done or _is_gone(directory)):
                await run_tied((engine, "rm", file.parent.parent.name), env=environment())


def _marked(file: Path) -> Path | None:
    """The directory of the build of ours that a working container belongs to; None: it is somebody else's."""
    try:
        value: Any = json.loads(file.read_bytes())["Args"][MARK]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Path(value) if isinstance(value, str) else None


def _is_gone(directory: Path) -> bool:
    try:
        directory.stat()
    except FileNotFoundError:
        return True
    except OSError:
        pass
    return False


def explain(error: BuildError) -> BuildError:
    """The same failure with its cause as the message, where this host is the cause."""
    if FULL.search(error.output):
        return BuildError(
            f"{error.message}: the disk is full",
            hint="make room in the cache, and in the store of the program that builds",
            command=error.command,
            output=error.output,
        )
    if FEW_IDS.search(error.output):
        return BuildError(
            f"{error.message}: this user has no subordinate ids, and the image has files of several owners",
            hint=SUBORDINATE,
            command=error.command,
            output=error.output,
        )
    return error
