"""What is in the cache, and what of it is to go, for people and as JSON. Pure; the JSON's keys are public surface."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sandboxfile.cli.views.text import age, roughly, table
from sandboxfile.images.prune import Choice, Entry

DIGITS = 12  # of a digest, for people
_KINDS = {"image": "images", "layer": "layers", "platform": "kernels and tools", "leftover": "half-built"}
HEADER = ("KIND", "DIGEST", "SIZE", "USED", "WHY", "MADE OF")


def use_in_words(entries: Sequence[Entry]) -> str:
    """`in the cache: 3 images 1.2 GiB, 7 layers 402.0 MiB`."""
    words = []
    for kind, name in _KINDS.items():
        sizes = [entry.size for entry in entries if entry.kind == kind]
        if sizes:
            words.append(f"{name} {roughly(sum(sizes))} ({len(sizes)})")
    return f"in the cache: {', '.join(words) or 'nothing'}"


def choices_table(chosen: Sequence[Choice], now: float) -> str:
    """A line for each that is to go."""
    return table(HEADER, [_cells(choice, now) for choice in chosen])


def _cells(choice: Choice, now: float) -> list[str]:
    entry = choice.entry
    used = age(moment(entry.used), datetime.fromtimestamp(now, UTC)) if entry.used else "-"
    return [entry.kind, entry.digest[:DIGITS], roughly(entry.size), used, choice.reason, entry.title or "-"]


def choices_object(chosen: Sequence[Choice]) -> dict[str, Any]:
    """The object of `prune --format json`; sizes in bytes."""
    removed = [
        {
            "kind": choice.entry.kind,
            "digest": choice.entry.digest,
            "size": choice.entry.size,
            "freed": choice.entry.freed,
            "used_at": moment(choice.entry.used) if choice.entry.used else None,
            "made_of": choice.entry.title,
            "reason": choice.reason,
        }
        for choice in chosen
    ]
    return {"removed": removed, "freed": sum(choice.entry.freed for choice in chosen)}


def moment(seconds: float) -> str:
    """Seconds since 1970 as an RFC 3339 time in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
