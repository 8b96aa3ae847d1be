"""A host made of data: directories and files by path, and what a file's text resolves to there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest

from sandboxfile.diagnostics import Diagnostics, has_errors
from sandboxfile.language.validate import load, load_policies
from sandboxfile.model.desired import DesiredSandbox, DesiredState, FileContent
from sandboxfile.model.spec import SandboxFile
from sandboxfile.resolve.inputs import (
    PathFact,
    PolicyFiles,
    PresetFacts,
    Registry,
    ResolveInputs,
    Source,
    SourceFact,
    SourceKind,
    paths_needed,
    sources_needed,
)
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
    policies: PolicyFiles = field(default_factory=PolicyFiles)
    presets: dict[str, PresetFacts] = field(default_factory=dict)
    sources: dict[Source, SourceFact] = field(default_factory=dict)
    project: str = ""
    stored: frozenset[str] = frozenset()
    git_identity: tuple[str, str] | None = None
    configuration: tuple[FileContent, ...] = ()

    def configured(self, *paths: str) -> "Host":
        """Files of this user's own that shape sandboxes."""
        self.configuration = tuple(FileContent(path, "") for path in paths)
        self.facts.update({path: PathFact("missing", path) for path in paths if path not in self.facts})
        return self

    def directory(self, *paths: str) -> "Host":
        self.facts.update({path: PathFact("directory", path) for path in paths})
        return self

    def text(self, path: str, content: str) -> "Host":
        self.facts[path] = PathFact("file", path, content=content.encode())
        return self

    def link(self, path: str, real: str, *, kind: str = "directory", at: str | None = None) -> "Host":
        self.facts[path] = PathFact(kind, real, (at or path,), b"" if kind == "file" else None)  # type: ignore[arg-type]
        return self

    def source(self, kind: SourceKind, name: str, digest: str, dockerfile: str = "") -> "Host":
        """Something that templates are made from; a path is there as well, if it is one."""
        self.sources[Source(kind, name, dockerfile)] = SourceFact(f"sha256:{digest}")
        if name.startswith("/"):
            self.facts.setdefault(name, PathFact("directory" if kind == "context" else "file", name))
        return self

    def preset(self, *names: str) -> "Host":
        """Clients of this host, each configured for a registry."""
        for name in names:
            self.presets[name] = PresetFacts(True, (Registry(f"https://{name}.example.com/"),))
        return self

    def policy_files(self, *, user: str = "", machine: str = "") -> "Host":
        of_machine, problems = load_policies(machine, "/etc/policy.yaml") if machine else (None, ())
        names = frozenset(of_machine.policies) if of_machine else frozenset()
        of_user, more = load_policies(user, "~/policy.yaml", names, may_choose=True) if user else (None, ())
        self.policies = PolicyFiles(of_user, of_machine, (*problems, *more))
        return self

    def inputs(self, text: str) -> tuple[SandboxFile, ResolveInputs]:
        file, _, problems = load(text, self.file, self.policies.names)
        assert file is not None
        assert not has_errors(problems)
        self.facts.setdefault(self.file, PathFact("file", self.file))
        base = self.file.rpartition("/")[0]
        self.facts = {path: PathFact("directory", path) for path in (HOME, BASE, base, *PRIVATE)} | self.facts
        paths = {path: PathFact("missing", path) for path in paths_needed(file, base, HOME)} | self.facts
        missing = SourceFact(problem="there is no such thing")
        sources = {source: missing for source in sources_needed(file, base, HOME)} | self.sources
        return file, ResolveInputs(
            self.file,
            HOME,
            PRIVATE,
            paths,
            self.environment,
            self.policies,
            self.presets,
            "2026-11-21",
            sources,
            project=self.project,
            stored=self.stored,
            git_identity=self.git_identity,
            configuration=self.configuration,
        )

    def resolve(self, text: str) -> tuple[DesiredState | None, Diagnostics]:
        return resolve(*self.inputs(text))

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
        assert (desired is None) == has_errors(problems)
        return [problem.summary for problem in problems]


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def new_host() -> Callable[[], Host]:
    return Host
