"""How it is told which variables of this host a sandbox is given: one line for all that come the same way. Pure."""

import re
from collections.abc import Iterable

# As `resolve` writes them: perhaps how it comes inside, which variable, and where that one is from.
_VARIABLE = re.compile(r"(what the files make of |)([^\s/]+) of (\.env|the environment of sbx)")


def told_together(taken: Iterable[str]) -> tuple[str, ...]:
    """`A of .env`, `B of .env` as `A, B of .env`; what is no variable, as it is. Each where its first one was."""
    found: dict[tuple[str, str], list[str]] = {}
    for each in taken:
        match = _VARIABLE.fullmatch(each)
        how, name, place = match.groups() if match else ("", each, "")
        key = (how, place) if match else (each, "")
        found.setdefault(key, []).append(name)
    return tuple(f"{how}{', '.join(names)} of {place}" if place else how for (how, place), names in found.items())
