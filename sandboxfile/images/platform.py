"""The platform: what every sandbox boots from, whatever its template. Kernel, initramfs, and the disk of our own tools.

    vmlinux      Debian's cloud kernel, uncompressed, for QEMU's PVH start. From bookworm (6.1): the next one (6.12)
                 crashed in 5 of 74 boots under QEMU 7.2's emulation, this one in none.
    initrd.cpio  static busybox, the modules that reach the disks, guest/rootfs/initramfs-init
    tools.erofs  /run/sbx of the guest: busybox, OpenSSH 10, resize2fs, their libraries, the kernel's modules, our
                 scripts. OpenSSH 10 because older ones give root sessions neither signals nor forwarded sockets.

Built from Debian packages that are only unpacked, never configured, so no root is needed and nothing of them runs
(busybox excepted, which is asked for the list of its commands).
"""

import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from sandboxfile.host.layout import Layout
from sandboxfile.images import cache
from sandboxfile.model.fingerprint import fingerprint

FORMAT = 1
KERNEL_SUITE, KERNEL_PACKAGES = "bookworm", ("linux-image-cloud-amd64",)
TOOLS_SUITE, TOOLS_PACKAGES = "trixie", ("busybox-static", "e2fsprogs", "openssh-server")
PROGRAMS = ("usr/sbin/sshd", "usr/lib/openssh/sshd-session", "usr/lib/openssh/sshd-auth", "usr/sbin/resize2fs")
LIBRARIES = "lib/x86_64-linux-gnu"
LOADER = "lib64/ld-linux-x86-64.so.2"
# What is needed before the tools disk is reached, and what every guest uses: each later load costs a process.
EARLY_MODULES = (
    "virtio_pci", "virtio_blk", "virtio_console", "virtio_rng", "virtio_balloon", "qemu_fw_cfg",
    "ext4", "erofs", "overlay", "fuse", "virtiofs",
)  # fmt: skip
EARLY_COMMANDS = ("sh", "mount", "insmod", "mkdir", "chroot", "sleep", "sync", "poweroff")
ROOTFS = Path(__file__).parent.parent / "guest" / "rootfs"  # data files; the guest package itself is not imported
ERASED_UUID = "5b500000-0000-4000-8000-000000000001"


@dataclass(frozen=True, slots=True)
class Platform:
    """The files of a whole platform. `kernel` is its release, as `uname -r` gives it inside."""

    digest: str
    vmlinux: Path
    initrd: Path
    tools: Path
    kernel: str


def find_platform(layout: Layout) -> Platform | None:
    """The platform of this version of the program, if it is built and whole."""
    digest = platform_digest()
    found = cache.find(layout.platforms, digest)
    return _platform(digest, *found) if found else None


async def build_platform(layout: Layout, report: Callable[[str], None]) -> Platform:
    """Find it or build it: about 15 s and 60 MB of downloads. Raises BuildError; nothing half-done is left."""
    from sandboxfile.images import mmdebstrap  # here, because finding must stay cheap

    async def make(work: Path) -> Mapping[str, Any]:
        return await _make(work, report)

    digest = platform_digest()
    found = await cache.build(layout.platforms, digest, make, report=report, remove=mmdebstrap.remove_tree)
    return _platform(digest, *found)


def platform_digest() -> str:
    """Names the platform by its inputs: this format, the packages asked for, the scripts."""
    scripts = {name: data.decode() for name, data in _scripts()}
    return fingerprint((FORMAT, KERNEL_SUITE, KERNEL_PACKAGES, TOOLS_SUITE, TOOLS_PACKAGES, PROGRAMS, EARLY_MODULES, scripts))


def _platform(digest: str, directory: Path, manifest: Mapping[str, Any]) -> Platform:
    return Platform(
        digest, directory / "vmlinux", directory / "initrd.cpio", directory / "tools.erofs", manifest["kernel"]
    )


def _scripts() -> Iterator[tuple[str, bytes]]:
    """Path relative to ROOTFS, and content."""
    for path in sorted(ROOTFS.rglob("*")):
        if path.is_file():
            yield path.relative_to(ROOTFS).as_posix(), path.read_bytes()


async def _make(work: Path, report: Callable[[str], None]) -> Mapping[str, Any]:
    import anyio.to_thread

    from sandboxfile.errors import BuildError
    from sandboxfile.host.process import run
    from sandboxfile.images import mmdebstrap

    mode = await mmdebstrap.choose_mode()
    kernel_tar, tools_tar = work / ".kernel.tar", work / ".tools.tar"
    for name, target, suite, packages in (
        ("kernel", kernel_tar, KERNEL_SUITE, KERNEL_PACKAGES),
        ("guest tools", tools_tar, TOOLS_SUITE, TOOLS_PACKAGES),
    ):
        prefix = name
        await mmdebstrap.make_tar(
            target, suite, packages, variant="extract", mode=mode, report=lambda words, prefix=prefix: report(f"{prefix}: {words}")
        )
    environment = mmdebstrap.environment()
    report("taking the kernel apart")
    stage = work / ".modules"
    release = await anyio.to_thread.run_sync(_unpack_kernel, kernel_tar, work / "vmlinux", stage)
    await run(["depmod", "-b", str(stage), release], what="index the kernel's modules", error=BuildError, env=environment)

    report("making the tools disk")
    tree = work / ".tools"
    busybox = await anyio.to_thread.run_sync(_unpack_tools, tools_tar, tree)
    commands = await run([str(tree / "bin/busybox"), "--list"], what="list the commands of busybox", error=BuildError)
    await anyio.to_thread.run_sync(_lay_out_tools, tree, commands.split())
    (stage / "lib/modules").rename(tree / "modules")
    await run(
        ["mkfs.erofs", "--quiet", "-zlz4", "-C65536", "-x-1", "--all-root", "-T0", f"-U{ERASED_UUID}",
         str(work / "tools.erofs"), str(tree)],
        what="make the tools disk", error=BuildError, env=environment,
    )  # fmt: skip
    report("making the initramfs")
    modules = tree / "modules" / release
    (work / "initrd.cpio").write_bytes(_initramfs(busybox, modules))
    return {"kernel": release}


def _unpack_kernel(tar: Path, target: Path, stage: Path) -> str:
    """Write vmlinux and, below `stage`, lib/modules/RELEASE. Gives the release."""
    from sandboxfile.errors import BuildError
    from sandboxfile.images import kernel

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


def _unpack_tools(tar: Path, tree: Path) -> bytes:
    """Write the programs with the libraries they need, and busybox, below `tree`. Gives busybox."""
    from sandboxfile.errors import BuildError
    from sandboxfile.images import elf

    with tarfile.open(tar) as archive:
        members = {member.name.removeprefix("./"): member for member in archive}

        def content(path: str) -> bytes:
            # With /usr merged, a file may be listed under either name.
            member = next(
                members[name] for name in (path, f"usr/{path}", path.removeprefix("usr/")) if name in members
            )
            if member.issym():
                parts: list[str] = []
                for part in (PurePosixPath(member.name.removeprefix("./")).parent / member.linkname).parts:
                    if part == "..":
                        parts.pop()
                    elif part != "/":
                        parts.append(part)
                return content("/".join(parts))
            stream = archive.extractfile(member)
            assert stream is not None
            return stream.read()

        try:
            files = {path: content(path) for path in PROGRAMS}
            libraries = elf.closure(files.values(), lambda name: content(f"{LIBRARIES}/{name}"))
            files |= {f"{LIBRARIES}/{name}": data for name, data in libraries.items()}
            files |= {LOADER: content(LOADER), "bin/busybox": (busybox := content("usr/bin/busybox"))}
        except StopIteration as exc:
            raise BuildError("the packages of the guest tools lack a file that was there before") from exc
    for path, data in files.items():
        _write(tree / path, data)
    return busybox


def _lay_out_tools(tree: Path, commands: list[str]) -> None:
    """Add the links to busybox, our scripts, and the places that `init` fills."""
    for name in commands:
        if name != "busybox":
            (tree / "bin" / name).symlink_to("busybox")
    for name, data in _scripts():
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
    from sandboxfile.images import cpio, kernel

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
