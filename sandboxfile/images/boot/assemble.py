"""Puts the platform together from unpacked Debian packages: called by `platform.py`, which says what it is made of."""

import posixpath
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from anyio import to_thread

from sandboxfile.errors import BuildError
from sandboxfile.host.process import run
from sandboxfile.images.boot import cpio, elf, kernel
from sandboxfile.images.boot.recipe import (
    EARLY_COMMANDS,
    EARLY_MODULES,
    FILE_SYSTEM_UUID,
    KERNEL,
    LIBRARIES,
    LOADER,
    PROGRAMS,
    ROOTFS,
    TOOLS,
    Packages,
    scripts,
)  # fmt: skip
from sandboxfile.images.packages import mmdebstrap


async def assemble(work: Path, report: Callable[[str], None]) -> Mapping[str, Any]:
    """Make vmlinux, initrd.cpio and tools.erofs in `work`. Gives what to remember. Raises BuildError."""
    kernel_tar, tools_tar, stage, tree = (work / f".{name}" for name in ("kernel.tar", "tools.tar", "modules", "tools"))
    await _unpack(KERNEL, kernel_tar, report)
    await _unpack(TOOLS, tools_tar, report)

    report("taking the kernel apart")
    release = await to_thread.run_sync(_take_kernel, kernel_tar, work / "vmlinux", stage)
    await _run(["depmod", "-b", str(stage), release], "index the kernel's modules")

    report("making the tools disk")
    busybox = await to_thread.run_sync(_take_tools, tools_tar, tree)
    commands = await _run([str(tree / "bin/busybox"), "--list"], "list the commands of busybox")
    await to_thread.run_sync(_lay_out_tools, tree, commands.split())
    (stage / "lib/modules").rename(tree / "modules")
    # Fixed times, owners and name: the same packages give the same bytes, whoever builds.
    reproducible = ("-x-1", "--all-root", "-T0", f"-U{FILE_SYSTEM_UUID}")
    await _run(
        ["mkfs.erofs", "--quiet", "-zlz4", "-C65536", *reproducible, str(work / "tools.erofs"), str(tree)],
        "make the tools disk",
    )

    report("making the initramfs")
    (work / "initrd.cpio").write_bytes(_initramfs(busybox, tree / "modules" / release))
    return {"kernel": release}


async def _unpack(packages: Packages, tar: Path, report: Callable[[str], None]) -> None:
    def progress(words: str) -> None:
        report(f"{packages.title}: {words}")

    mode = await mmdebstrap.choose_mode()
    await mmdebstrap.make_tar(tar, packages.suite, packages.names, variant="extract", mode=mode, report=progress)


async def _run(command: list[str], what: str) -> str:
    return await run(command, what=what, error=BuildError, env=mmdebstrap.environment())


def _take_kernel(tar: Path, target: Path, stage: Path) -> str:
    """Write vmlinux and, below `stage`, lib/modules/RELEASE. Gives the release."""
    release = ""
    with tarfile.open(tar) as archive:
        for member in archive:
            path = PurePosixPath(member.name.removeprefix("./").removeprefix("usr/"))
            if not member.isfile() or path.parts[:1] not in (("boot",), ("lib",)):
                continue
            stream = archive.extractfile(member)
            assert stream is not None
            if path.parts[0] == "boot" and path.name.startswith("vmlinuz-"):
                release = path.name.removeprefix("vmlinuz-")
                target.write_bytes(kernel.vmlinux(stream.read()))
            elif path.parts[:2] == ("lib", "modules"):
                name, data = kernel.module(path.name, stream.read())
                place = stage / path.parent / name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(data)
    if not release:
        raise BuildError("the kernel package holds no kernel")
    return release


def _take_tools(tar: Path, tree: Path) -> bytes:
    """Write the programs with the libraries they need, and busybox, below `tree`. Gives busybox."""
    with tarfile.open(tar) as archive:
        content = _reader(archive)
        files = {path: content(path) for path in (*PROGRAMS, LOADER)}
        libraries = elf.closure(files.values(), lambda name: content(f"{LIBRARIES}/{name}"))
        files |= {f"{LIBRARIES}/{name}": data for name, data in libraries.items()}
        files["bin/busybox"] = busybox = content("usr/bin/busybox")
    for path, data in files.items():
        _write(tree / path, data)
    return busybox


def _reader(archive: tarfile.TarFile) -> Callable[[str], bytes]:
    """Reads a file of the archive by its path in the root, through links, wherever merging /usr has put it."""
    members = {member.name.removeprefix("./"): member for member in archive}

    def content(path: str) -> bytes:
        names = (path, f"usr/{path}", path.removeprefix("usr/"))
        member = next((members[name] for name in names if name in members), None)
        if member is None:
            raise BuildError(f"the packages of the guest tools hold no {path}")
        if member.issym():
            return content(posixpath.normpath(f"{PurePosixPath(member.name).parent}/{member.linkname}").lstrip("/"))
        stream = archive.extractfile(member)
        assert stream is not None
        return stream.read()

    return content


def _lay_out_tools(tree: Path, commands: list[str]) -> None:
    """Add the links to busybox, our scripts, and the places that `init` fills."""
    for name in commands:
        if name != "busybox":
            (tree / "bin" / name).symlink_to("busybox")
    for name, data in scripts():
        if name != "initramfs-init":
            (tree / name).unlink(missing_ok=True)
            _write(tree / name, data)
    for name in ("proc", "var"):
        (tree / name).mkdir()
    # The disk is read-only: what changes is on a tmpfs at var. /dev is a link and no mount, so that terminals keep
    # their usual names in sessions.
    for name, target in (("etc", "var/etc"), ("run", "var/run"), ("tmp", "var/tmp"), ("dev", "/proc/1/root/dev")):
        (tree / name).symlink_to(target)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(0o755)


def _initramfs(busybox: bytes, modules: Path) -> bytes:
    order = kernel.load_order(
        EARLY_MODULES, (modules / "modules.dep").read_text(), (modules / "modules.builtin").read_text()
    )
    names = [PurePosixPath(path).name for path in order]
    entries = [cpio.directory(name) for name in ("bin", "dev", "modules", "newroot", "proc", "sys")]
    entries += [cpio.character_device("dev/console", 5, 1), cpio.file("bin/busybox", busybox, executable=True)]
    entries += [cpio.link(f"bin/{name}", "busybox") for name in EARLY_COMMANDS]
    entries += [
        cpio.file(f"modules/{name}", (modules / path).read_bytes()) for name, path in zip(names, order, strict=True)
    ]
    entries.append(cpio.file("modules/order", "".join(f"{name}\n" for name in names).encode()))
    entries.append(cpio.file("init", (ROOTFS / "initramfs-init").read_bytes(), executable=True))
    return cpio.archive(entries)
