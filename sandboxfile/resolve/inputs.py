"""What `resolve` must know of this host, as data: which paths it needs to know about, and what was found there.

Filled by `host.inputs`. Every path is absolute and normalised; nothing here looks at a disk.
"""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sandboxfile.diagnostics import Diagnostics
from sandboxfile.model.spec import PolicyFile, SandboxFile, written_policies


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


@dataclass(frozen=True, slots=True)
class ResolveInputs:
    """The file's path, this user's directories, facts about all `paths_needed`, and the environment of sbx.

    `paths` also has facts about `file`, `home` and each of `private` (state, cache and runtime directory). `presets`
    has facts about all `presets_needed`. `today` is the date in UTC, 2026-11-21.
    """

    file: str
    home: str
    private: tuple[str, ...]
    paths: Mapping[str, PathFact]
    environment: Mapping[str, str]
    policies: PolicyFiles = field(default_factory=PolicyFiles)
    presets: Mapping[str, PresetFacts] = field(default_factory=dict)
    today: str = ""

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


def paths_needed(file: SandboxFile, base: str, home: str) -> frozenset[str]:
    """Every path that the file names: workspaces and env_files."""
    sandboxes = (file.defaults, *file.sandboxes.values())
    workspaces = {absolute(item.source, base, home) for sandbox in sandboxes for item in sandbox.workspaces}
    return frozenset(workspaces | env_files_needed(file, base, home))


def env_files_needed(file: SandboxFile, base: str, home: str) -> frozenset[str]:
    """Those of `paths_needed` whose content is needed."""
    sandboxes = (file.defaults, *file.sandboxes.values())
    return frozenset(absolute(path, base, home) for sandbox in sandboxes for path in sandbox.env_file)


def presets_needed(file: SandboxFile, policies: PolicyFiles) -> frozenset[str]:
    """Every preset that some policy names."""
    files = (file, policies.user, policies.machine)
    written = (policy for each in files if each is not None for _, policy in written_policies(each))
    return frozenset(rule.preset for policy in written for rule in policy.allow if rule.preset)
