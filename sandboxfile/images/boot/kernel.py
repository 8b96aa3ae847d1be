"""Takes a Debian kernel package apart: the uncompressed kernel that QEMU starts by PVH, and modules in load order."""

import lzma
import struct
import subprocess
import zlib
from collections.abc import Iterable

from sandboxfile.errors import BuildError


def vmlinux(bzimage: bytes) -> bytes:
    """The ELF kernel inside a bzImage (Linux boot protocol 2.08 or later, `payload_offset`). Raises BuildError."""
    if bzimage[0x202:0x206] != b"HdrS":
        raise BuildError("the kernel package holds no bzImage")
    setup_sectors = bzimage[0x1F1] or 4
    offset, length = struct.unpack_from("<II", bzimage, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    elf = _decompressed(bzimage[start : start + length])
    if elf[:4] != b"\x7fELF":
        raise BuildError("the kernel package holds no ELF kernel")
    return elf


def module(name: str, data: bytes) -> tuple[str, bytes]:
    """A module as `.ko`: the guest's modprobe loads no compressed ones, and the disk they lie on compresses anyway."""
    for suffix in (".xz", ".zst", ".gz"):
        if name.endswith(f".ko{suffix}"):
            return name.removesuffix(suffix), _decompressed(data)
    return name, data


def load_order(wanted: Iterable[str], dependencies: str, builtin: str) -> list[str]:
    """Paths of the wanted modules and what they need, in the order that they can be loaded.

    `dependencies` is the text of modules.dep, `builtin` that of modules.builtin, where some modules are instead.
    Raises BuildError for a module that is in neither.
    """
    needs: dict[str, list[str]] = {}
    paths: dict[str, str] = {}
    for line in dependencies.splitlines():
        path, _, rest = line.partition(":")
        paths[_module_name(path)] = path
        needs[path] = rest.split()
    inside = {_module_name(path) for path in builtin.split()}
    order: list[str] = []

    def add(path: str) -> None:
        if path not in order:
            for other in needs[path]:
                add(other)
            order.append(path)

    for name in map(_module_name, wanted):
        if name in paths:
            add(paths[name])
        elif name not in inside:
            raise BuildError(f"the kernel package has no module {name}")
    return order


def _module_name(path: str) -> str:
    return path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


def _decompressed(data: bytes) -> bytes:
    if data[:2] == b"\x1f\x8b":
        return zlib.decompressobj(31).decompress(data)
    if data[:6] == b"\xfd7zXZ\0":
        return lzma.LZMADecompressor().decompress(data)
    if data[:4] == b"\x02\x21\x4c\x18":
        # The legacy frame, to which the kernel's build appends the length: unknown to lz4.
        return _filtered(["lz4", "-dc"], data[:-4])
    if data[:4] == b"\x28\xb5\x2f\xfd":
        return _filtered(["zstd", "-dcq"], data)
    raise BuildError("the kernel package is compressed in a way unknown here")


def _filtered(command: list[str], data: bytes) -> bytes:
    try:
        result = subprocess.run(command, input=data, capture_output=True, check=False)
    except FileNotFoundError as exc:
        raise BuildError(
            f"cannot unpack the kernel: {command[0]} is not installed", hint=f"install {command[0]}", command=command
        ) from exc
    # Trailing bytes (the length that the kernel's build appends) make the tools complain after all is written.
    if not result.stdout:
        raise BuildError("cannot unpack the kernel", command=command, output=result.stderr.decode(errors="replace"))
    return result.stdout
