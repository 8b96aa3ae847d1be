"""Programs and libraries that must be installed, and the Debian package that has each."""

import os
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path

from sandboxfile.agents.builtin import BUILTIN_TEMPLATES, DEFAULT_TEMPLATE
from sandboxfile.cli.checks.check import Check, check
from sandboxfile.errors import SandboxfileError
from sandboxfile.host.capacity import SYSTEM_DIRECTORIES
from sandboxfile.images.packages.sources import OVERRIDE, host_sources
from sandboxfile.vm import filters, jail
from sandboxfile.vm.file_servers import find_file_server

# Program, package, what it is for.
PROGRAMS = (
    ("qemu-img", "qemu-utils", "makes disks"),
    ("bwrap", "bubblewrap", "jails QEMU"),
    ("mmdebstrap", "mmdebstrap", "builds images"),
    ("mkfs.erofs", "erofs-utils", "builds the disk of guest tools"),
    ("mke2fs", "e2fsprogs", "builds disk images"),
    ("depmod", "kmod", "indexes kernel modules"),
    ("lz4", "lz4", "unpacks kernels"),
    ("zstd", "zstd", "unpacks kernels, and packs the layers of images"),
    ("unshare", "util-linux", "builds images without root"),
)
ID_MAPPERS = (("newuidmap", "uidmap", "maps user ids"), ("newgidmap", "uidmap", "maps group ids"))


async def check_programs(uid: int) -> list[Check]:
    """QEMU, its firmware, the file server, the builders."""
    wanted = PROGRAMS + (ID_MAPPERS if uid != 0 else ())
    return [
        _architecture(),
        _qemu(),
        _firmware(),
        _file_server(),
        *(_program(*each) for each in wanted),
        _seccomp(),
        await _mirror(),
    ]


def _architecture() -> Check:
    machine = platform.machine()
    return check("processor", machine == "x86_64", machine, "only x86_64 hosts are supported")


def _program(name: str, package: str, purpose: str) -> Check:
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{SYSTEM_DIRECTORIES}")
    return check(name, found is not None, found or f"not installed; {purpose}", f"apt install {package}")


def _qemu() -> Check:
    try:
        return Check("qemu", "ok", jail.qemu_program())
    except SandboxfileError as exc:
        return Check("qemu", "missing", exc.message, exc.hint)


def _firmware() -> Check:
    try:
        return Check("qboot", "ok", str(jail.firmware()))
    except SandboxfileError as exc:
        return Check("qboot", "missing", exc.message, exc.hint)


def _file_server() -> Check:
    try:
        server = find_file_server()
    except SandboxfileError as exc:
        return Check("virtiofsd", "missing", exc.message, exc.hint)
    kind = {"c": "the one in C of QEMU 7 and before", "rust": "the one in Rust"}[server.flavour]
    return Check("virtiofsd", "ok", f"{server.program}, {kind}")


def _seccomp() -> Check:
    try:
        filters.machine_filter()
    except SandboxfileError as exc:
        return Check("libseccomp", "missing", exc.message, exc.hint)
    return Check("libseccomp", "ok", "found")


async def _mirror() -> Check:
    suite = BUILTIN_TEMPLATES[DEFAULT_TEMPLATE].base.partition(":")[2]
    try:
        sources = await host_sources(suite)
    except SandboxfileError as exc:
        return Check("Debian mirror", "missing", exc.message, exc.hint or f"set {OVERRIDE} to one")
    missing = _missing(sources.keyrings)
    detail = sources.lines[0] if not missing else f"keyring missing: {', '.join(missing)}"
    return check("Debian mirror", not missing, detail, "apt install debian-archive-keyring")


def _missing(paths: Sequence[Path]) -> list[str]:
    return [str(path) for path in paths if not path.exists()]
