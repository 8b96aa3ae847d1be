"""Which variables of this host came into sandboxes by `${...}`: found again by their values, wherever those may show.

A file that has been read has forgotten where its text is from. What is interpolated is there word for word, though: so
a variable that the files named, and whose value is part of anything that can be seen inside, was given to it. Now and
then that says too much (a value such as `1` is part of many things), and never too little.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from sandboxfile.model.desired import DesiredSandbox, DesiredState
from sandboxfile.model.template import Recipe


@dataclass(frozen=True, slots=True)
class Asked(Mapping[str, str]):
    """Variables that remember which of them somebody wanted to know."""

    values_by_name: Mapping[str, str]
    names: set[str] = field(default_factory=set)

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        return self.values_by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_name)

    def __len__(self) -> int:
        return len(self.values_by_name)


def with_variables(desired: DesiredState, asked: Asked, environment: Mapping[str, str]) -> DesiredState:
    """The sandboxes, `taken` completed. What is in `environment` is from there, the others are from files."""
    given = {name: asked.values_by_name[name] for name in sorted(asked.names & asked.values_by_name.keys())}
    words = {name: f"{name} of {'the environment of sbx' if name in environment else '.env'}" for name in given}
    found = {words[name]: value for name, value in given.items() if value}
    if not found:
        return desired
    images = {template.recipe.digest: "\0".join(_built(template.recipe)) for template in desired.templates}
    sandboxes = tuple(_completed(spec, found, images.get(spec.image.digest, "")) for spec in desired.sandboxes)
    return replace(desired, sandboxes=sandboxes)


def _completed(spec: DesiredSandbox, found: Mapping[str, str], image: str) -> DesiredSandbox:
    shown = "\0".join((*_shown(spec), image))
    more = tuple(words for words, value in found.items() if value in shown and words not in spec.taken)
    return replace(spec, taken=(*spec.taken, *more)) if more else spec


def _shown(spec: DesiredSandbox) -> Iterator[str]:
    """All that can be read inside and is free text."""
    yield from (value for _, value in spec.env)
    commands = (*spec.setup, spec.command, spec.healthcheck.command if spec.healthcheck else None)
    yield from (word for command in commands if command is not None for word in command.argv)


def _built(recipe: Recipe) -> Iterator[str]:
    yield from (value for _, value in recipe.origin.args)
    for step in recipe.steps:
        yield from (*step.packages, *step.command, *(value for _, value in step.env))
