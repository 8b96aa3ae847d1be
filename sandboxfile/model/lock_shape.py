"""The shape of sandbox.lock, strictly: what of its JSON is a lock, and a lock as its JSON. For `model.lock` alone."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from sandboxfile.model.lock import LockedTemplate
from sandboxfile.model.template import BuildStep, Origin, OriginKind, PlacedFile, Recipe, StepKind
from sandboxfile.names import NAME_LIMIT, NAME_PATTERN


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, defer_build=True)


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


class LockShape(_Part):
    """A whole file."""

    version: Literal[1]
    templates: dict[Annotated[str, StringConstraints(pattern=f"^{NAME_PATTERN}$", max_length=NAME_LIMIT)], _Template]


def from_template(locked: LockedTemplate) -> dict[str, Any]:
    """One template of the file. Raises ValueError for what no lock may hold."""
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
