"""A sandbox file as a program sees it: right, with its warnings, or an error that says all that is wrong with it."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandboxfile import pipeline
from sandboxfile.api.blocking import explained
from sandboxfile.api.sandboxes import Sandbox
from sandboxfile.cli.project import InvalidFile, find_file, this_layout
from sandboxfile.cli.views.text import did_you_mean
from sandboxfile.diagnostics import Diagnostics
from sandboxfile.errors import NotFoundError
from sandboxfile.model.desired import DesiredState


@dataclass(frozen=True, slots=True)
class Project:
    """What a sandbox file asks for. `project["web"]` is a handle of its sandbox `web`, which may not exist yet.

    `desired` is all of it, resolved, as `sbx config` shows it; `warnings` are what somebody should look at. `profiles`:
    which of its sandboxes that have profiles `plan` and `apply` mean, where they are not told.
    """

    path: Path
    desired: DesiredState
    warnings: Diagnostics = ()
    profiles: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.desired.project

    @property
    def names(self) -> tuple[str, ...]:
        """Those of its sandboxes, sorted."""
        return tuple(sandbox.id.name for sandbox in self.desired.sandboxes)

    def __getitem__(self, name: str) -> Sandbox:
        """Raises NotFoundError when the file has no such sandbox."""
        for sandbox in self:
            if sandbox.name == name:
                return sandbox
        hint = did_you_mean(name, list(self.names)) or f"there are: {', '.join(self.names) or 'none'}"
        with explained():
            raise NotFoundError(f"{self.path} has no sandbox {name}", hint=hint)

    def __iter__(self) -> Iterator[Sandbox]:
        return (Sandbox(sandbox.id) for sandbox in self.desired.sandboxes)

    def __len__(self) -> int:
        return len(self.desired.sandboxes)


_Path = str | os.PathLike[str]


def load(
    path: _Path | Sequence[_Path] | None = None,
    *,
    env_files: Sequence[_Path] = (),
    frozen: bool = False,
    profiles: Sequence[str] = (),
) -> Project:
    """Read a sandbox file; without `path` the nearest sandbox.yaml here or above, with the override beside it.

    Of a list of files each is merged upon those before it, as with several `sbx -f`; paths count from the first one.
    `env_files` have values for `${NAME}` in the file, beneath those of the environment, as `sbx --env-file`.
    With `frozen` it is an error when a template is not exactly as sandbox.lock has it.
    `profiles`: also sandboxes that have one of these are meant, `*` for any. Neither environment nor `.env` count.
    Raises InvalidFile when the file is wrong, NotFoundError when there is none, HostError when it is unreadable.
    """
    check_lists(profiles=profiles)
    with explained():
        found, *more = map(find_file, _written(path))
        given = pipeline.Given(tuple(more), override=path is None, env_files=tuple(map(Path, env_files)))
        loaded = pipeline.load(found, this_layout(), frozen=frozen, given=given)
        if loaded.desired is None:
            raise InvalidFile(found, loaded.diagnostics, loaded.sources)
        return Project(found.absolute(), loaded.desired, loaded.diagnostics, tuple(profiles))


def check_lists(**given: Sequence[str]) -> None:
    """Raises TypeError for a name where names are wanted: its letters would be them."""
    for name, value in given.items():
        if isinstance(value, str):
            raise TypeError(f"{name} is a list of names: {name}=[{value!r}]")


def _written(path: _Path | Sequence[_Path] | None) -> list[str | None]:
    if path is None or isinstance(path, str | os.PathLike):
        return [os.fspath(path) if path is not None else None]
    if not path:
        raise ValueError("an empty list of files")
    return [os.fspath(each) for each in path]
