"""Where the data of a sparse file in a tar lies: GNU tar's own format and its three within pax. Pure but for `read`.

`read(n)` gives exactly the next n bytes of the archive. Everything raises ValueError for what is not understood.
"""

from collections.abc import Callable, Sequence

type Segments = tuple[tuple[int, int], ...]  # offset and length of what is stored; all else is zeros
type Read = Callable[[int], bytes]

BLOCK = 512
MOST_SEGMENTS = 1 << 20
DIGITS = 20
PAIR = 24  # bytes of an offset and a length in the old format


def check(size: int, segments: Segments, stored: int) -> None:
    """They must stand one behind the other within the file, and make up what is stored, but for padding."""
    end = total = 0
    for offset, length in segments:
        if offset < end or length < 0:
            raise ValueError("a sparse file whose parts overlap")
        end = offset + length
        total += length
    if end > size or total > stored:
        raise ValueError("a sparse file with more than it holds")


def old(header: bytes, read: Read) -> tuple[int, Segments]:
    """Type `S`: four pairs in the header, and 21 in each block that follows. Gives the real size and the segments."""
    fields, more = header[386:482], header[482]
    segments = _old_pairs(fields)
    while more:
        if len(segments) > MOST_SEGMENTS:
            raise ValueError("a sparse file in too many parts")
        block = read(BLOCK)
        segments += _old_pairs(block[:504])
        more = block[504]
    return _octal(header[483:495]), tuple(segments)


def pax(records: Sequence[tuple[bytes, bytes]], read: Read) -> tuple[int, Segments, bytes]:
    """Formats 0.0, 0.1 and 1.0. Gives the real size, the segments, and the real name if it stands there (else b"")."""
    keys = dict(records)
    size = _decimal(keys.get(b"GNU.sparse.realsize") or keys.get(b"GNU.sparse.size") or b"")
    if keys.get(b"GNU.sparse.major") == b"1":
        numbers = _leading(read)
    elif (text := keys.get(b"GNU.sparse.map")) is not None:
        numbers = [_decimal(number) for number in text.split(b",")] if text else []
    else:
        pairs = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
        numbers = [_decimal(value) for key, value in records if key in pairs]
    if len(numbers) % 2:
        raise ValueError("a sparse file with half a part")
    return size, tuple(zip(numbers[::2], numbers[1::2], strict=True)), keys.get(b"GNU.sparse.name", b"")


def _leading(read: Read) -> list[int]:
    """The map that stands before the data: how many pairs, and they, a decimal number a line, in whole blocks."""
    lines: list[bytes] = []
    rest = b""
    wanted = 1
    while len(lines) < wanted:
        *whole, rest = (rest + read(BLOCK)).split(b"\n")
        lines += whole
        if len(rest) > BLOCK:
            raise ValueError("a sparse file without a map")
        if lines:
            wanted = 1 + 2 * _decimal(lines[0])
        if wanted > 2 * MOST_SEGMENTS:
            raise ValueError("a sparse file in too many parts")
    return [_decimal(line) for line in lines[1:wanted]]


def _old_pairs(fields: bytes) -> list[tuple[int, int]]:
    numbers = [fields[place : place + PAIR] for place in range(0, len(fields), PAIR)]
    return [(_octal(pair[:12]), _octal(pair[12:])) for pair in numbers if pair[0]]


def _octal(field: bytes) -> int:
    if field[0] & 0x80:
        return int.from_bytes(field) & ((1 << (8 * len(field) - 1)) - 1)
    return int(field.partition(b"\0")[0].strip() or b"0", 8)


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > DIGITS:
        raise ValueError("a sparse file with a strange number")
    return int(text)
