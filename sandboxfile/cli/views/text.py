"""Small texts: tables, ages, sizes, and text from elsewhere made harmless. Pure."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sandboxfile.model.sizes import UNITS

if TYPE_CHECKING:
    from datetime import datetime

_AGES = (("d", 86400), ("h", 3600), ("m", 60))


def harmless(text: str) -> str:
    """Without control characters: what a guest or a file says must not drive the user's terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def _flat(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def one_line(text: str, width: int) -> str:
    """Harmless, on one line, and cut to `width` characters."""
    flat = " ".join(harmless(text).split())
    return flat if len(flat) <= width else flat[: max(width - 1, 0)] + "…"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell, two spaces apart; no trailing blanks. A row is one line."""
    lines = [list(header), *([_flat(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def age(created_at: str, now: "datetime") -> str:
    """How long ago an RFC 3339 time was: `3d`, `2h`, `5m`, `12s`; `-` when it is no time."""
    from datetime import UTC, datetime

    try:
        created = datetime.fromisoformat(created_at)
    except ValueError:
        return "-"
    created = created if created.tzinfo else created.replace(tzinfo=UTC)
    seconds = max(int((now - created).total_seconds()), 0)
    for unit, length in _AGES:
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 05 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02} s"


def roughly(count: int) -> str:
    """Bytes for people: `1.4 GiB`."""
    for unit, length in UNITS:
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count} B"


def did_you_mean(word: str, known: Sequence[str]) -> str | None:
    """A hint with the nearest known words; None when nothing is near."""
    from difflib import get_close_matches

    near = get_close_matches(word, known, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(near)}?" if near else None
