"""DNS messages with one question (RFC 1035 4), as far as an answering server needs them. Pure.

A question is read strictly and without compression, so an answer can never be made to say more than was asked.
"""

from dataclasses import dataclass

A, PTR, CLASS_IN = 1, 12, 1
NO_ERROR, FORMAT_ERROR, SERVER_FAILURE, NO_SUCH_NAME, NOT_IMPLEMENTED, REFUSED = range(6)
MESSAGE_LIMIT = 512  # bytes of an answer; questions with EDNS are hardly longer
_HEADER = 12
_NAME = 255  # bytes on the wire


@dataclass(frozen=True, slots=True)
class Question:
    """`name` is lower-case, without a trailing dot; None when it holds what no host name can. `wire` is as it came."""

    id: int
    recursion: bool
    name: str | None
    kind: int
    wire: bytes


@dataclass(frozen=True, slots=True)
class Malformed:
    """To be answered with an error code, and nothing else."""

    id: int
    code: int


def parse_question(message: bytes) -> Question | Malformed | None:
    """The one question of a message; None: not even worth an answer (too short, or itself an answer)."""
    if len(message) < _HEADER:
        return None
    id, flags, questions = (int.from_bytes(message[at : at + 2]) for at in (0, 2, 4))
    if flags & 0x8000:
        return None
    if flags & 0x7800:
        return Malformed(id, NOT_IMPLEMENTED)
    if questions != 1:
        return Malformed(id, FORMAT_ERROR)
    labels, at = _labels(message)
    if not at or len(message) < at + 4:
        return Malformed(id, FORMAT_ERROR)
    kind, family = int.from_bytes(message[at : at + 2]), int.from_bytes(message[at + 2 : at + 4])
    if family != CLASS_IN:
        return Malformed(id, REFUSED)
    return Question(id, bool(flags & 0x0100), _text(labels), kind, message[_HEADER : at + 4])


def _labels(message: bytes) -> tuple[list[bytes], int]:
    """The labels of the name and where it ends; 0 for a name that is none."""
    labels: list[bytes] = []
    at = _HEADER
    while at < len(message):
        length = message[at]
        at += 1
        if length == 0:
            return (labels, at) if at - _HEADER <= _NAME else ([], 0)
        if length > 63 or at + length > len(message):  # above 63: a pointer, which a question has no use for
            break
        labels.append(message[at : at + length])
        at += length
    return [], 0


def _text(labels: list[bytes]) -> str | None:
    if not labels or any(b"." in label or not label.isascii() for label in labels):
        return None
    return b".".join(labels).decode("ascii").lower()


def answer(question: Question, code: int = NO_ERROR, data: bytes = b"", ttl: int = 0) -> bytes:
    """The whole message: with one record of the kind that was asked for when there is `data`."""
    record = b""
    if data:
        record = b"\xc0\x0c" + question.kind.to_bytes(2) + b"\0\1" + ttl.to_bytes(4) + len(data).to_bytes(2) + data
    return _header(question.id, code, question.recursion, 1, 1 if data else 0) + question.wire + record


def failure(malformed: Malformed) -> bytes:
    """The whole message that says so."""
    return _header(malformed.id, malformed.code, False, 0, 0)


def wire_name(name: str) -> bytes:
    """A host name as DNS writes it. Raises ValueError for one that cannot be written so."""
    labels = name.encode("ascii").split(b".")
    if not all(0 < len(label) < 64 for label in labels):
        raise ValueError(f"not a host name: {name!r}")
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def _header(id: int, code: int, recursion: bool, questions: int, answers: int) -> bytes:
    flags = 0x8080 | (0x0100 if recursion else 0) | code  # an answer; recursion is available, as clients expect
    return b"".join(number.to_bytes(2) for number in (id, flags, questions, answers, 0, 0))
