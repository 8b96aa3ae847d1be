"""sandbox.lock: what templates were made from, when somebody last said so. JSON for git: sorted, a thing a line.

Pure: text to Lock and back. Whatever can be said wrongly is refused, with its path in the file: the lock is input like
the sandbox file, and what it pins becomes words of package managers' command lines.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from sandboxfile.model.strict import Path
from sandboxfile.model.template import BuildStep, Origin, OriginKind, PlacedFile, Recipe, StepKind
from sandboxfile.names import NAME_LIMIT, NAME_PATTERN

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
    templates = {name: _from_template(lock.templates[name]) for name in sorted(lock.templates)}
    file = {"version": LOCK_VERSION, "templates": templates}
    return json.dumps(file, indent=1, sort_keys=True, ensure_ascii=True, allow_nan=False) + "\n"


def parse_lock(text: str) -> tuple[Lock | None, tuple[LockProblem, ...]]:
    """A lock's text to its meaning, or all that is wrong with it."""
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
        file = _File.model_validate(data)
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


# --- the file's own shape ----------------------------------------------------------------------------------------


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


Sha256 = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
# A word that can stand in a command line without being an option, a path or a second word. Versions of Debian, npm and
# PEP 440; names of their packages, of npm with a scope.
_Version = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+~:!_-]{0,199}$")]
_Package = Annotated[
    str, StringConstraints(pattern=r"^(@[0-9A-Za-z~_-][0-9A-Za-z._~-]{0,99}/)?[0-9A-Za-z~_][0-9A-Za-z._~+:-]{0,199}$")
]
_Text = Annotated[str, StringConstraints(max_length=1 << 16)]
_Versions = dict[_Package, _Version]


class _Base(_Part):
    kind: OriginKind
    reference: _Text = ""
    digest: Sha256 | Literal[""] = ""
    packages: list[_Text] = []
    versions: _Versions = {}
    dockerfile: _Text = ""
    target: _Text = ""
    args: dict[_Text, _Text] = {}


class _PlacedFile(_Part):
    target: _Text
    mode: Annotated[str, StringConstraints(pattern=r"^0[0-7]{3,4}$")]
    digest: Sha256


class _Step(_Part):
    kind: StepKind
    packages: list[_Text] = []
    versions: _Versions = {}
    files: list[_PlacedFile] = []
    command: list[_Text] = []
    user: _Text = "root"
    env: dict[_Text, _Text] = {}


class _Template(_Part):
    base: _Base
    steps: list[_Step] = []
    epoch: Annotated[int, Field(gt=0, lt=1 << 40)]
    content: Sha256
    format: Annotated[int, Field(ge=0, lt=1 << 31)]

    def understood(self) -> LockedTemplate:
        base = self.base
        origin = Origin(
            base.kind,
            base.reference,
            base.digest,
            tuple(base.packages),
            tuple(sorted(base.versions.items())),
            base.dockerfile,
            base.target,
            tuple(base.args.items()),
        )
        steps = tuple(
            BuildStep(
                step.kind,
                tuple(step.packages),
                tuple(sorted(step.versions.items())),
                tuple(PlacedFile(file.target, int(file.mode, 8), file.digest) for file in step.files),
                tuple(step.command),
                step.user,
                tuple(step.env.items()),
            )
            for step in self.steps
        )
        return LockedTemplate(Recipe(origin, steps, self.epoch), self.content, self.format)


class _File(_Part):
    version: Literal[1]
    templates: dict[Annotated[str, StringConstraints(pattern=f"^{NAME_PATTERN}$", max_length=NAME_LIMIT)], _Template]


def _from_template(locked: LockedTemplate) -> dict[str, Any]:
    recipe = locked.recipe
    origin = recipe.origin
    base = _Base(
        kind=origin.kind,
        reference=origin.reference,
        digest=origin.digest,
        packages=list(origin.packages),
        versions=dict(origin.versions),
        dockerfile=origin.dockerfile,
        target=origin.target,
        args=dict(origin.args),
    )
    steps = [_from_step(step) for step in recipe.steps]
    template = _Template(base=base, steps=steps, epoch=recipe.epoch, content=locked.content, format=locked.format)
    return template.model_dump(mode="json", exclude_defaults=True)


def _from_step(step: BuildStep) -> _Step:
    return _Step(
        kind=step.kind,
        packages=list(step.packages),
        versions=dict(step.versions),
        files=[_PlacedFile(target=f.target, mode=f"0{f.mode:03o}", digest=f.digest) for f in step.files],
        command=list(step.command),
        user=step.user,
        env=dict(step.env),
    )
