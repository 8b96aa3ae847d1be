"""Sizes as text, in the form that the language reads (`model.values`): every unit is binary."""

UNITS = (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))


def size(count: int) -> str:
    """Bytes in the largest unit that divides them: 2GiB, 1536MiB; bytes when none does."""
    for unit, length in UNITS:
        if count >= length and count % length == 0:
            return f"{count // length}{unit}"
    return f"{count}B"
