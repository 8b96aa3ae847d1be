"""What an unquoted scalar means: the YAML 1.2 core schema, where `no` is text."""

import re

from sandboxfile.language.tree import Value
from sandboxfile.model.values import WrittenFloat, WrittenInt

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE, _FALSE = frozenset({"true", "True", "TRUE"}), frozenset({"false", "False", "FALSE"})
_INT = re.compile(r"[-+]?[0-9]+\Z|0o[0-7]+\Z|0x[0-9a-fA-F]+\Z", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z", re.ASCII)
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z")
_DIGITS = 100  # a longer "number" stays text: no field wants one, and Python refuses to convert the very long


def plain_value(text: str) -> Value:
    """What an unquoted scalar means in the YAML 1.2 core schema. Numbers remember how they were written."""
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if text[0] not in "+-.0123456789" or len(text) > _DIGITS:
        return text
    if _INT.match(text):
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        whole = WrittenInt(text, base)
        whole.text = text
        return whole
    if _FLOAT.match(text) or _SPECIAL.match(text):
        number = WrittenFloat(text.replace(".", "") if _SPECIAL.match(text) else text)
        number.text = text
        return number
    return text
