"""Debian packages to a tar, by mmdebstrap; and who is root for it: the only door to both.

Root is not needed. `choose_mode` takes the first that works here:
    root        we are root
    unshare     a user namespace with this user's subordinate ids (/etc/subuid and newuidmap)
    fakechroot  neither: fakechroot and fakeroot pretend. Twice as slow, and only for suites as old as the host's
                (the host's libraries run with the suite's C library); unpacking alone works for all
"""

import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from shlex import quote
from typing import Literal

import anyio

from sandboxfile.errors import BuildError, SandboxfileError
from sandboxfile.host.capacity import SYSTEM_DIRECTORIES, available_memory
from sandboxfile.host.process import run
from sandboxfile.images.packages.sources import ARCHIVES, Distribution, Sources, host_sources

Mode = Literal["root", "unshare", "fakechroot"]
NAMESPACE = ("unshare", "--map-auto", "--map-root-user", "--")
SUBORDINATE = "as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER, with `uidmap` installed"
REMOVE_TRIES = 5
UNREACHABLE = re.compile("Could not resolve|Could not connect|Connection (failed|timed out)|Temporary failure")
FULL = re.compile("No space left on device|Disk quota exceeded|not enough free space|Could not allocate block")
LEAST_MEMORY = 4 << 30  # bytes; with less to spare nothing is unpacked in memory
_IN_MEMORY = 'mount -t tmpfs -o "size=$2,mode=755" sandboxfile "$1"; shift 2; exec "$@"'


def environment() -> dict[str, str]:
    """Our environment with the system's directories at the end of PATH, and messages we can read."""
    return {**os.environ, "PATH": f"{os.environ.get('PATH', os.defpath)}:{SYSTEM_DIRECTORIES}", "LC_ALL": "C.UTF-8"}


def _environment(epoch: int) -> dict[str, str]:
    """Without the caller's own SOURCE_DATE_EPOCH: what an image is made from is in its recipe."""
    own = {name: value for name, value in environment().items() if name != "SOURCE_DATE_EPOCH"}
    return {**own, "SOURCE_DATE_EPOCH": str(epoch)} if epoch else own


async def choose_mode() -> Mode:
    """How to be root here. Raises BuildError when there is no way."""
    if os.geteuid() == 0:
        return "root"
    try:
        await run([*NAMESPACE, "true"], what="make a user namespace", env=environment())
        return "unshare"
    except SandboxfileError as exc:
        if shutil.which("fakechroot") and shutil.which("fakeroot"):
            return "fakechroot"
        raise BuildError(
            "cannot build as this user: it has no subordinate ids, and fakechroot is not installed",
            hint=SUBORDINATE,
            command=exc.command,
            output=exc.output,
        ) from exc


def as_root(mode: Mode) -> tuple[str, ...]:
    """What goes before a command so that it sees and makes any owner of files."""
    return {"root": (), "unshare": NAMESPACE, "fakechroot": ("fakeroot", "--")}[mode]


async def remove_tree(path: Path) -> None:
    """Delete what a build made at `path`, its scratch tree included, whoever owns the files.

    Never raises: what cannot be removed now is left to the next sweep.
    """
    for place in (path, _scratch_path(path)):
        for _ in range(REMOVE_TRIES):
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place, ignore_errors=True)
            else:
                place.unlink(missing_ok=True)
            if not place.exists():
                break
            try:  # it has files of our subordinate ids
                await run([*NAMESPACE, "rm", "-rf", str(place)], what="clean up", env=environment())
            except SandboxfileError:
                await anyio.sleep(0.2)  # processes that were just killed may still have been writing


async def make_tar(
    target: Path,
    suite: str,
    packages: Sequence[str],
    *,
    variant: Literal["extract", "essential"],
    mode: Mode,
    report: Callable[[str], None],
    distribution: Distribution = "debian",
    hooks: Sequence[str] = (),
    epoch: int = 0,
) -> None:
    """Download the packages with what they need from this host's mirrors, unpack (and configure) them, into a tar.

    `hooks` are further arguments for mmdebstrap. `epoch`: seconds since 1970 that take the place of the time, or 0.
    Raises BuildError, which names the suite or package that the mirror does not have.
    """
    sources = await host_sources(suite, distribution)
    # Under fakechroot it would look for tar inside, where merely unpacked packages have none.
    way = "chrootless" if mode == "fakechroot" and variant == "extract" else mode
    arguments = ["mmdebstrap", f"--mode={way}", f"--variant={variant}", "--format=tar"]
    arguments += [f"--aptopt={option}" for option in sources.options]
    if variant != "extract":
        arguments += _apt_inside(sources, ARCHIVES[distribution].keyring, target.parent)
    arguments += hooks
    if packages:
        arguments.append(f"--include={','.join(packages)}")
    arguments += [suite, str(target), *sources.lines]
    progress = Progress(report)
    title = f"{ARCHIVES[distribution].title} {suite}"

    apart = await isolation(mode)

    async def attempt(memory: int) -> None:
        async with _scratch(target.parent) as scratch:
            await run(
                [*apart, *in_memory(scratch, memory), *arguments],
                what=f"get packages of {title}",
                error=BuildError,
                env={**_environment(epoch), "TMPDIR": str(scratch)},
                on_line=progress,
            )

    memory = spare_memory() if apart else 0
    try:
        try:
            await attempt(memory)
        except BuildError as exc:
            if not memory or not FULL.search(exc.output):
                raise
            await attempt(0)  # more than there is memory for
    except BuildError as exc:
        # To run again by hand: the build's own directory is gone then.
        again = ["/dev/null" if argument == str(target) else argument for argument in exc.command]
        error = BuildError(exc.message, hint=exc.hint, command=again, output=exc.output)
        raise explain(error, suite, distribution) from exc


def _apt_inside(sources: Sources, standard: Path, work: Path) -> Iterator[str]:
    """What the image's own apt is to be configured with. Writes two files into `work`, for mmdebstrap to read."""
    for path in sources.keyrings:
        if path != standard:  # apt inside looks for the keyring under the same name
            yield f'--customize-hook=mkdir -p "$1"{quote(str(path.parent))}'
            yield f"--customize-hook=upload {quote(str(path))} {quote(str(path))}"
    places = ("/etc/apt/sources.list", "/etc/apt/apt.conf.d/99mmdebstrap")
    for place, text in zip(places, sources.inside, strict=True):
        source = work / f".{Path(place).name}"
        source.write_text(text)
        yield f"--customize-hook=upload {quote(str(source))} {place}"


async def isolation(mode: Mode) -> tuple[str, ...]:
    """What goes before a command of root's so that it mounts for itself alone: never in the mounts that we see.

    mmdebstrap mounts /proc, /sys and /dev below its scratch tree: were it killed, to remove the tree would be to remove
    the host's. Where such a namespace is forbidden (a plain container), mounting is too, and mmdebstrap does without.
    """
    if mode != "root":
        return ()
    prefix = ("unshare", "--mount", "--propagation", "private", "--")
    try:
        await run([*prefix, "true"], what="make a mount namespace")
    except SandboxfileError:
        return ()
    return prefix


def in_memory(place: Path, size: int) -> tuple[str, ...]:
    """What goes before a command, in a mount namespace of its own, so that a directory is memory to it (0: it is not).

    A root is tens of thousands of small files, written once and read once: on a disk that takes twenty times as long.
    """
    return ("sh", "-c", _IN_MEMORY, "sh", str(place), str(size)) if size else ()


def spare_memory() -> int:
    """Bytes of memory that a build may take for a moment: half of what is available, or 0 when that is little."""
    half = available_memory() // 2
    return half if half >= LEAST_MEMORY else 0


@asynccontextmanager
async def _scratch(work: Path) -> AsyncIterator[Path]:
    """Where mmdebstrap unpacks. Not in the cache: its user namespace may not be able to enter a private home."""
    path = _scratch_path(work)
    path.mkdir(mode=0o711)
    path.chmod(0o711)
    try:
        yield path
    finally:
        with anyio.CancelScope(shield=True):
            await remove_tree(path)


def _scratch_path(work: Path) -> Path:
    """Follows from the build's own directory, so that whoever sweeps the one finds the other."""
    return Path(tempfile.gettempdir()) / f"sbx{work.name}"


class Progress:
    """Turns mmdebstrap's own lines into a few short ones for `report`."""

    PHASES = (
        ("running apt-get update", "reading package lists"),
        ("running --setup-hook", "reading package lists"),
        ("downloading packages", "downloading packages"),
        ("extracting archives", "unpacking packages"),
        ("installing essential", "configuring essential packages"),
        ("installing remaining", "configuring packages"),
        ("creating tarball", "packing"),
    )

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._last = ""

    def __call__(self, line: str) -> None:
        for beginning, words in self.PHASES:
            if beginning in line and words != self._last:
                self._last = words
                self._report(words)


def explain(error: BuildError, suite: str, distribution: Distribution = "debian") -> BuildError:
    """The same failure with its cause as the message, where the output says it."""
    message, hint = error.message, error.hint
    archive = ARCHIVES[distribution]
    title = f"{archive.title} {suite}"
    if missing := re.findall(r"^E: Unable to locate package (\S+)", error.output, re.MULTILINE):
        message = f"{title} has no package {', '.join(dict.fromkeys(missing))}"
        hint = "look for the right name with `apt-cache search`, or on your mirror"
    elif candidates := re.findall(r"Package '?([^' ]+)'? has no installation candidate", error.output):
        message = f"{title} has no package {', '.join(dict.fromkeys(candidates))}"
        hint = "it may have another name in this suite"
    elif re.search(r"does not have a Release file|/Release\b.*404|404 +Not Found.*Release", error.output):
        message = f"the mirror of this host has no {archive.title} suite {suite}"
        hint = (
            f"check the suite's name in `base: {distribution}:SUITE`, or set {archive.override} to a mirror that has it"
        )
    elif FULL.search(error.output):
        message = f"cannot build an image of {title}: the disk is full"
        hint = f"make room in {tempfile.gettempdir()} (or set TMPDIR) and in the cache"
    elif "doesn't work under fakechroot" in error.output:
        message = f"fakechroot cannot build {title} on this host, whose own libraries are older or newer"
        hint = f"give this user subordinate ids; {SUBORDINATE}"
    elif UNREACHABLE.search(error.output):
        message = f"the {archive.title} mirror of this host cannot be reached"
        hint = "check that `apt-get update` works on this host"
    return BuildError(message, hint=hint, command=error.command, output=error.output)
