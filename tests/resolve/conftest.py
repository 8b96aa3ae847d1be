"""A host made of data: directories and files by path, and what a file's text resolves to there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest

from sandboxfile.diagnostics import Diagnostics
from sandboxfile.language.validate import load
from sandboxfile.model.desired import DesiredSandbox, DesiredState
from sandboxfile.resolve.inputs import PathFact, ResolveInputs, paths_needed
from sandboxfile.resolve.project import resolve

HOME = "/home/user"
BASE = "/home/user/project"
PRIVATE = (f"{HOME}/.local/state/sandboxfile", f"{HOME}/.cache/sandboxfile", "/run/user/1000/sandboxfile")


@dataclass
class Host:
    """`facts` by absolute path; the project, home and private directories exist; everything else is missing."""

    facts: dict[str, PathFact] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    file: str = f"{BASE}/sandbox.yaml"

    def directory(self, *paths: str) -> "Host":
        self.facts.update({path: PathFact("directory", path) for path in paths})
        return self

    def text(self, path: str, content: str) -> "Host":
        self.facts[path] = PathFact("file", path, content=content.encode())
        return self

    def link(self, path: str, real: str, *, kind: str = "directory", at: str | None = None) -> "Host":
        self.facts[path] = PathFact(kind, real, (at or path,), b"" if kind == "file" else None)  # type: ignore[arg-type]
        return self

    def resolve(self, text: str) -> tuple[DesiredState | None, Diagnostics]:
        file, _, problems = load(text, "sandbox.yaml")
        assert file is not None
        assert problems == ()
        self.directory(HOME, BASE, *PRIVATE)
        self.facts.setdefault(self.file, PathFact("file", self.file))
        base = self.file.rpartition("/")[0]
        paths = {path: PathFact("missing", path) for path in paths_needed(file, base, HOME)} | self.facts
        return resolve(file, ResolveInputs(self.file, HOME, PRIVATE, paths, self.environment))

    def state(self, text: str) -> DesiredState:
        desired, problems = self.resolve(text)
        assert problems == ()
        assert desired is not None
        return desired

    def only(self, text: str) -> DesiredSandbox:
        (sandbox,) = self.state(text).sandboxes
        return sandbox

    def summaries(self, text: str) -> list[str]:
        desired, problems = self.resolve(text)
        assert desired is None or not problems
        return [problem.summary for problem in problems]


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def new_host() -> Callable[[], Host]:
    return Host
