"""sandbox.lock: what templates were made from, when somebody last said so. JSON for git: sorted, a thing a line.

Pure: text to Lock and back. Whatever can be said wrongly is refused, with its path in the file: the lock is input like
the sandbox file, and what it pins becomes words of package managers' command lines.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from sandboxfile.model.strict import Path
from sandboxfile.model.template import Recipe
from sandboxfile.names import NAME_LIMIT

LOCK_VERSION = 1
LOCK_LIMIT = 1 << 20  # bytes
_SHOWN = 20  # problems of one file: nobody reads more


@dataclass(frozen=True, slots=True)
class LockedTemplate:
    """One template. `recipe`: what the file asked for, with the pins; its `digest` and host's paths are empty.

    Values of build arguments are not in it, only what tells one from another: they may come from somebody's
    environment, and this file goes into version control. `content` is the digest of what was built; `format` the way
    of building (`resolve.templates.IMAGE_FORMAT`).
    """

    recipe: Recipe
    content: str
    format: int


@dataclass(frozen=True, slots=True)
class Lock:
    """All that are locked, by name."""

    templates: Mapping[str, LockedTemplate] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LockProblem:
    """What is wrong with a lock's text: `path` of the part (empty: the whole), or the line and column, from 1."""

    detail: str
    path: Path = ()
    line: int = 0
    column: int = 0


def encode_lock(lock: Lock) -> str:
    """The file's text. Equal locks, equal text. ASCII: nothing in it looks like what it is not."""
    from sandboxfile.model.lock_shape import from_template  # here, as below: most runs have nothing that is locked

    templates = {name: from_template(lock.templates[name]) for name in sorted(lock.templates)}
    file = {"version": LOCK_VERSION, "templates": templates}
    return json.dumps(file, indent=1, sort_keys=True, ensure_ascii=True, allow_nan=False) + "\n"


def parse_lock(text: str) -> tuple[Lock | None, tuple[LockProblem, ...]]:
    """A lock's text to its meaning, or all that is wrong with it."""
    from sandboxfile.model.lock_shape import LockShape

    try:
        data = json.loads(text, object_pairs_hook=_without_repeats, parse_constant=_no_constant)
    except json.JSONDecodeError as exc:
        return None, (LockProblem(f"This is no JSON: {exc.msg}.", (), exc.lineno, exc.colno),)
    except (ValueError, RecursionError) as exc:
        return None, (LockProblem(f"This is no lock: {exc}."),)
    version = data.get("version") if isinstance(data, dict) else None
    if isinstance(version, int) and version > LOCK_VERSION:
        detail = f"It has version {version}; this sbx knows {LOCK_VERSION}: a newer one wrote it."
        return None, (LockProblem(detail, ("version",)),)
    try:
        file = LockShape.model_validate(data)
    except ValidationError as exc:
        return None, tuple(_problem(item) for item in exc.errors(include_url=False)[:_SHOWN])
    return Lock({name: template.understood() for name, template in file.templates.items()}), ()


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {repeated[:NAME_LIMIT]!r} comes twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no value of JSON")


def _problem(item: Any) -> LockProblem:
    path = tuple(part for part in item["loc"] if part != "[key]")
    key = f" (of the key {str(path[-1])[:NAME_LIMIT]!r})" if "[key]" in item["loc"] else ""
    return LockProblem(f"{item['msg']}{key}.", path)
