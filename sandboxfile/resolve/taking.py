"""Which variables of this host came into sandboxes by `${...}`: each that the files asked for, wherever it went.

A file that has been read has forgotten where its text is from, and a value may come in unseen: a host in lower case, a
number, a path made shorter, one word or another for it. So every sandbox is said to be given what the files make of
each variable that has a value; and the variable itself where its value is, word for word, in anything of the sandbox or
of its template. Both now and then say too much (a value such as `1` is part of many things), and never too little.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace

from sandboxfile.model.desired import DesiredSandbox, DesiredState, FromHost

_OURS = ("digest", "place", "from_host")  # fields that a short value would be a part of, now and then


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
    """The sandboxes, `from_host` completed. What is in `environment` is from there, the others are from files."""
    given = {name: asked.values_by_name[name] for name in sorted(asked.names & asked.values_by_name.keys())}
    found = {
        FromHost("environment" if name in environment else ".env", name): value
        for name, value in given.items()
        if value
    }
    if not found:
        return desired
    images = {each.recipe.digest: "\0".join(_texts((each.recipe, each.policy))) for each in desired.templates}
    sandboxes = tuple(_completed(spec, found, images.get(spec.image.digest, "")) for spec in desired.sandboxes)
    return replace(desired, sandboxes=sandboxes)


def _completed(spec: DesiredSandbox, found: Mapping[FromHost, str], image: str) -> DesiredSandbox:
    shown = "\0".join((*_texts(spec), image))
    more = [each if value in shown else replace(each, derived=True) for each, value in found.items()]
    return replace(spec, from_host=tuple(dict.fromkeys((*spec.from_host, *more))))


def _texts(value: object) -> Iterator[str]:
    """Everything that it is made of, one by one, but for what no file has written."""
    if isinstance(value, tuple | frozenset):
        for item in value:
            yield from _texts(item)
    elif is_dataclass(value):
        for item in fields(value):
            if item.name not in _OURS:
                yield from _texts(getattr(value, item.name))
    elif value is not None:
        yield str(value)
