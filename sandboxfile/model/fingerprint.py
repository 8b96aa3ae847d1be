"""One way to name content: SHA-256 of canonical JSON. Equal data, equal name, on every host and every run."""

import dataclasses
import functools
import hashlib
import json
from typing import Any


@functools.cache
def _compared(kind: type) -> tuple[str, ...] | None:
    """The fields of a class of data that take part; None for any other."""
    if not dataclasses.is_dataclass(kind):
        return None
    return tuple(field.name for field in dataclasses.fields(kind) if field.compare)


def _plain(value: Any) -> Any:
    if isinstance(value, str):  # most are
        return value
    names = _compared(value.__class__)
    if names is not None:
        fields = {name: _plain(getattr(value, name)) for name in names}
        return {"type": type(value).__name__, **fields}
    if isinstance(value, frozenset | set):
        return sorted(_plain(item) for item in value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


def fingerprint(value: Any) -> str:
    """64 hexadecimal digits for dataclasses, tuples, dicts, sets and scalars, nested at will.

    A field that does not take part in comparisons does not take part here.
    """
    text = json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def short(digest: str) -> str:
    """The first 12 digits: enough for people."""
    return digest[:12]
