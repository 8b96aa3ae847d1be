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
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import anyio

from sandboxfile.errors import BuildError, SandboxfileError
from sandboxfile.host.process import run
from sandboxfile.images.sources import STANDARD_KEYRING, host_sources

Mode = Literal["root", "unshare", "fakechroot"]
NAMESPACE = ("unshare", "--map-auto", "--map-root-user", "--")
SUBORDINATE = "as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER, with `uidmap` installed"
REMOVE_TRIES = 5
UNREACHABLE = re.compile("Could not resolve|Could not connect|Connection (failed|timed out)|Temporary failure")
FULL = re.compile("No space left on device|Disk quota exceeded|not enough free space|Could not allocate block")
SYSTEM_DIRECTORIES = "/usr/sbin:/sbin"  # mke2fs, depmod: not on the PATH of an ordinary Debian user


def environment() -> dict[str, str]:
    """Our environment with the system's directories at the end of PATH, and messages we can read."""
    return {**os.environ, "PATH": f"{os.environ.get('PATH', os.defpath)}:{SYSTEM_DIRECTORIES}", "LC_ALL": "C.UTF-8"}


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
) -> None:
    """Download the packages with what they need from this host's mirrors, unpack (and configure) them, into a tar.

    Raises BuildError, which names the suite or package that the mirror does not have.
    """
    sources = await host_sources(suite)
    # Under fakechroot it would look for tar inside, where merely unpacked packages have none.
    way = "chrootless" if mode == "fakechroot" and variant == "extract" else mode
    arguments = ["mmdebstrap", f"--mode={way}", f"--variant={variant}", "--format=tar"]
    arguments += [f"--aptopt={option}" for option in sources.options]
    # apt inside looks for the keyring under the same name.
    uploads = [path for path in sources.keyrings if path != STANDARD_KEYRING] if variant != "extract" else []
    for path in uploads:
        arguments += [f'--customize-hook=mkdir -p "$1{path.parent}"', f"--customize-hook=upload {path} {path}"]
    if packages:
        arguments.append(f"--include={','.join(packages)}")
    arguments += [suite, str(target), *sources.lines]
    progress = Progress(report)
    try:
        async with _scratch(target.parent) as scratch:
            await run(
                [*await _isolation(mode), *arguments],
                what=f"get packages of Debian {suite}",
                error=BuildError,
                env={**environment(), "TMPDIR": str(scratch)},
                on_line=progress,
            )
    except BuildError as exc:
        # To run again by hand: the build's own directory is gone then.
        again = ["/dev/null" if argument == str(target) else argument for argument in exc.command]
        raise explain(BuildError(exc.message, hint=exc.hint, command=again, output=exc.output), suite) from exc


async def _isolation(mode: Mode) -> tuple[str, ...]:
    """As root, mmdebstrap mounts /proc, /sys and /dev below its scratch tree: never in the mounts that we see.

    Otherwise, were it killed, to remove the tree would be to remove the host's. Where such a namespace is forbidden
    (a plain container), mounting is too, and mmdebstrap does without.
    """
    if mode != "root":
        return ()
    prefix = ("unshare", "--mount", "--propagation", "private", "--")
    try:
        await run([*prefix, "true"], what="make a mount namespace")
    except SandboxfileError:
        return ()
    return prefix


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


def explain(error: BuildError, suite: str) -> BuildError:
    """The same failure with its cause as the message, where the output says it."""
    message, hint = error.message, error.hint
    if missing := re.findall(r"Unable to locate package (\S+)", error.output):
        message = f"Debian {suite} has no package {', '.join(dict.fromkeys(missing))}"
        hint = "look for the right name with `apt-cache search`, or on your mirror"
    elif candidates := re.findall(r"Package '?([^' ]+)'? has no installation candidate", error.output):
        message = f"Debian {suite} has no package {', '.join(dict.fromkeys(candidates))}"
        hint = "it may have another name in this suite"
    elif re.search(r"does not have a Release file|/Release\b.*404|404 +Not Found.*Release", error.output):
        message = f"the mirror of this host has no Debian suite {suite}"
        hint = "check the suite's name in `base: debian:SUITE`, or set SBX_DEBIAN_MIRROR to a mirror that has it"
    elif FULL.search(error.output):
        message = f"cannot build an image of Debian {suite}: the disk is full"
        hint = f"make room in {tempfile.gettempdir()} (or set TMPDIR) and in the cache"
    elif "doesn't work under fakechroot" in error.output:
        message = f"fakechroot cannot build Debian {suite} on this host, whose own libraries are older or newer"
        hint = f"give this user subordinate ids; {SUBORDINATE}"
    elif UNREACHABLE.search(error.output):
        message = "the Debian mirror of this host cannot be reached"
        hint = "check that `apt-get update` works on this host"
    return BuildError(message, hint=hint, command=error.command, output=error.output)
