"""What `resolve` must know of this host, as data: which paths it needs to know about, and what was found there.

Filled by `host.inputs`. Every path is absolute and normalised; nothing here looks at a disk.
"""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sandboxfile.diagnostics import Diagnostics, Span
from sandboxfile.model.builtin import BUILTIN_TEMPLATES
from sandboxfile.model.spec import PolicyFile, SandboxFile, Template, written_policies
from sandboxfile.resolve.chains import chain_of, managers_of


@dataclass(frozen=True, slots=True)
class PathFact:
    """What stands at a path. `real` is where it ends when symlinks are followed; `links` are those followed.

    Each link is given by its own real place. `content` is that of a file that was asked for (`problem` says why not).
    """

    kind: Literal["directory", "file", "other", "missing"]
    real: str
    links: tuple[str, ...] = ()
    content: bytes | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class PolicyFiles:
    """The user's and the machine's policy files, as far as there are any; `sources` are their texts by file name.

    With an error among the `problems` nothing is resolved: a policy that cannot be read never opens anything.
    """

    user: PolicyFile | None = None
    machine: PolicyFile | None = None
    problems: Diagnostics = ()
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> frozenset[str]:
        """What policies are called that a sandbox file may use without defining them."""
        return frozenset(name for file in (self.user, self.machine) if file for name in file.policies)


@dataclass(frozen=True, slots=True)
class Registry:
    """Where a client gets packages: an http or https URL without credentials. `stripped`: where they were left."""

    url: str
    stripped: str = ""


@dataclass(frozen=True, slots=True)
class PresetFacts:
    """What this host's client of one kind is configured for. `found`: there is a client, or configuration for it.

    `settings` are environment variables that make a client go to the same registries, where it would not by itself.
    """

    found: bool = False
    registries: tuple[Registry, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()


SourceKind = Literal["file", "tar", "context", "local", "saved"]


@dataclass(frozen=True, slots=True)
class Source:
    """Something of this host that an image is made from.

    `name`: an absolute path (file, tar, build context), the name of a local image, the tag of a saved template.
    `dockerfile` is relative to the build context.
    """

    kind: SourceKind
    name: str
    dockerfile: str = ""

    @property
    def is_path(self) -> bool:
        return self.kind in ("file", "tar", "context")


@dataclass(frozen=True, slots=True)
class SourceFact:
    """The digest (`sha256:...`) of what a source holds; without one, `problem` says in a clause why there is none."""

    digest: str = ""
    problem: str = ""
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class ResolveInputs:
    """The file's path, this user's directories, facts about all `paths_needed`, and the environment of sbx.

    `paths` also has facts about `file`, `lock` (where the lock is, or would be), `home` and each of `private` (state,
    cache and runtime directory). `presets` has facts about all `presets_needed`, `sources` about all `sources_needed`.
    `today` is the date in UTC, 2026-11-21.
    """

    file: str
    home: str
    private: tuple[str, ...]
    paths: Mapping[str, PathFact]
    environment: Mapping[str, str]
    policies: PolicyFiles = field(default_factory=PolicyFiles)
    presets: Mapping[str, PresetFacts] = field(default_factory=dict)
    today: str = ""
    sources: Mapping[Source, SourceFact] = field(default_factory=dict)
    lock: str = ""

    @property
    def base(self) -> str:
        """The directory that relative paths start from."""
        return posixpath.dirname(self.file)

    def absolute(self, written: str) -> str:
        """A path as written in the file, made absolute."""
        return absolute(written, self.base, self.home)


def absolute(written: str, base: str, home: str) -> str:
    """`~` replaced, relative to `base`, normalised as text (`a/../b` is `b`, whatever `a` is)."""
    if written == "~" or written.startswith("~/"):
        written = home + written[1:]
    path = posixpath.normpath(posixpath.join(base, written))
    return path[1:] if path.startswith("//") else path


def written_place(span: Span | None) -> str:
    """`sandbox.yaml:12:9`: the project's file may have been named by any path."""
    return "" if span is None else f"{posixpath.basename(span.file)}:{span.line}:{span.column}"


def paths_needed(file: SandboxFile, base: str, home: str) -> frozenset[str]:
    """Every path that the file names: workspaces, env_files, and what templates are made from."""
    sandboxes = (file.defaults, *file.sandboxes.values())
    workspaces = {absolute(item.source, base, home) for sandbox in sandboxes for item in sandbox.workspaces}
    sources = {source.name for source in sources_needed(file, base, home) if source.is_path}
    return frozenset(workspaces | sources | env_files_needed(file, base, home))


def env_files_needed(file: SandboxFile, base: str, home: str) -> frozenset[str]:
    """Those of `paths_needed` whose content is needed."""
    sandboxes = (file.defaults, *file.sandboxes.values())
    return frozenset(absolute(path, base, home) for sandbox in sandboxes for path in sandbox.env_file)


def sources_needed(file: SandboxFile, base: str, home: str) -> frozenset[Source]:
    """Everything of this host that the templates of the file are made from."""
    found: set[Source] = set()
    for template in file.templates.values():
        origin = origin_source(template, base, home)
        found.update([origin] if origin else [])
        found.update(Source("file", absolute(placed.source, base, home)) for placed in template.files)
    return frozenset(found)


def origin_source(template: Template, base: str, home: str) -> Source | None:
    """What of this host a template stands on; None when that is something else."""
    if template.build is not None:
        return Source("context", absolute(template.build.context, base, home), template.build.dockerfile)
    kind, _, rest = template.base.partition(":")
    if kind == "tar":
        return Source("tar", absolute(rest, base, home))
    if kind == "docker":
        return Source("local", rest)
    return Source("saved", rest) if kind == "saved" else None


def presets_needed(file: SandboxFile, policies: PolicyFiles) -> frozenset[str]:
    """Every preset that some policy names, and those of the package managers that templates use."""
    files = (file, policies.user, policies.machine)
    written = (policy for each in files if each is not None for _, policy in written_policies(each))
    named = {rule.preset for policy in written for rule in policy.allow if rule.preset}
    chains = (chain_of(file, name) for name in (*file.templates, *_builtins_used(file)))
    return frozenset(named.union(*(managers_of(chain) for chain in chains if chain is not None)))


def _builtins_used(file: SandboxFile) -> frozenset[str]:
    sandboxes = (file.defaults, *file.sandboxes.values())
    return frozenset(sandbox.template for sandbox in sandboxes if sandbox.template in BUILTIN_TEMPLATES)
