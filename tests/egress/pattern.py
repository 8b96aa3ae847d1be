"""Bytes without end in which a loss, a repetition or a swap anywhere shows."""

import hashlib
from collections.abc import Iterator

# A prime length: pieces cut at any power of two never look alike.
_BLOCK = hashlib.shake_256(b"pattern").digest(65521)


def pattern(length: int) -> Iterator[bytes]:
    """The first `length` bytes, in pieces."""
    while length > 0:
        piece = _BLOCK[:length] if length < len(_BLOCK) else _BLOCK
        length -= len(piece)
        yield piece


def pattern_digest(length: int) -> str:
    """SHA-256 of the first `length` bytes, lower-case hex."""
    digest = hashlib.sha256()
    for piece in pattern(length):
        digest.update(piece)
    return digest.hexdigest()
