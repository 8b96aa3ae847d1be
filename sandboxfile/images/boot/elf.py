"""What a dynamically linked x86-64 program needs, read from its bytes: nothing foreign is run to find it out."""

import struct
from collections.abc import Callable, Iterable

_DT_NEEDED, _DT_STRTAB, _DT_NULL = 1, 5, 0
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3


def needed(image: bytes) -> tuple[str, ...]:
    """The DT_NEEDED library names of a 64-bit little-endian ELF file; empty for a static one. Raises ValueError."""
    if image[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a 64-bit little-endian ELF file")
    (table,) = struct.unpack_from("<Q", image, 0x20)
    size, count = struct.unpack_from("<HH", image, 0x36)
    segments = [struct.unpack_from("<IIQQQQ", image, table + index * size) for index in range(count)]
    dynamic = next(((offset, length) for kind, _, offset, _, _, length in segments if kind == _PT_DYNAMIC), None)
    if dynamic is None:
        return ()
    entries = list(struct.iter_unpack("<QQ", image[dynamic[0] : dynamic[0] + dynamic[1] // 16 * 16]))
    entries = entries[: next((index for index, (tag, _) in enumerate(entries) if tag == _DT_NULL), len(entries))]
    address = next((value for tag, value in entries if tag == _DT_STRTAB), None)
    if address is None:
        raise ValueError("a dynamic section without strings")
    strings = next(
        (
            offset + address - start
            for kind, _, offset, start, _, length in segments
            if kind == _PT_LOAD and start <= address < start + length
        ),
        None,
    )
    if strings is None:
        raise ValueError("the strings of the dynamic section are in no segment")
    return tuple(_string(image, strings + value) for tag, value in entries if tag == _DT_NEEDED)


def closure(programs: Iterable[bytes], library: Callable[[str], bytes]) -> dict[str, bytes]:
    """Every library that the programs need, directly or not, by name. `library` raises KeyError for a missing one."""
    found: dict[str, bytes] = {}
    waiting = [name for program in programs for name in needed(program)]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = library(name)
            waiting += needed(found[name])
    return dict(sorted(found.items()))


def _string(image: bytes, start: int) -> str:
    return image[start : image.index(b"\0", start)].decode("ascii")
