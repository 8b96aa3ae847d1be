"""When a file was made: the number of an inode is used again when a file is gone, the time of its birth is not."""

import struct
from functools import cache
from typing import Any

_AT_EMPTY_PATH = 0x1000
_STATX_BTIME = 0x800
_STATX = struct.Struct("=I76xqI164x")  # stx_mask and stx_btime


def born(handle: int) -> int | None:
    """Nanoseconds since 1970, of the file of a descriptor; None where nobody knows. Python has no statx(2) yet."""
    import ctypes  # here: most commands ask for no birth

    answer = ctypes.create_string_buffer(_STATX.size)
    try:
        failed = _libc().statx(handle, b"", _AT_EMPTY_PATH, _STATX_BTIME, answer)
    except AttributeError:
        return None
    known, seconds, nanoseconds = _STATX.unpack(answer.raw)
    return None if failed or not known & _STATX_BTIME else seconds * 1_000_000_000 + nanoseconds


@cache
def _libc() -> Any:
    import ctypes

    return ctypes.CDLL(None)
