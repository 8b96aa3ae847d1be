"""Durations as text, in the form that the language reads (`model.spec_life`)."""

_UNITS = ((3_600_000_000, "h"), (60_000_000, "m"), (1_000_000, "s"), (1_000, "ms"), (1, "us"))


def duration(seconds: float) -> str:
    """Seconds as people write them, to the microsecond: 30s, 1m30s, 500ms; 0s for none."""
    left = round(seconds * 1_000_000)
    text = ""
    for length, unit in _UNITS:
        count, left = divmod(left, length)
        text += f"{count}{unit}" if count else ""
    return text or "0s"
