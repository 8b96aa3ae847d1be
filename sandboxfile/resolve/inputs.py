"""What `resolve` must know of this host, as data: which paths it needs to know about, and what was found there.

Filled by `host.inputs`. Every path is absolute and normalised; nothing here looks at a disk.
"""

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from sandboxfile.agents.builtin import BUILTIN_TEMPLATES
from sandboxfile.diagnostics import Diagnostics, Span
from sandboxfile.model.desired import FileContent
from sandboxfile.model.spec import PolicyFile, SandboxFile, Secret, Template, written_policies
from sandboxfile.model.spec_agents import OF_THE_HOST
from sandboxfile.names import name_from
from sandboxfile.resolve.chains import chain_of, managers_of, template_of

_BETWEEN_PATHS = re.compile(r"[\s=;|&<>()'\"`,:]+")  # what stands around a path in an argument, a script's included


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

    With an error among the `problems` nothing is resolved: a policy that cannot be read never opens anything. `files`
    are both, there or not.
    """

    user: PolicyFile | None = None
    machine: PolicyFile | None = None
    problems: Diagnostics = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    files: tuple[FileContent, ...] = ()

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
    `files` are those that say all this, or would, had they been there.
    """

    found: bool = False
    registries: tuple[Registry, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    files: tuple[FileContent, ...] = ()


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

    `paths` also has facts about `file`, `base`, `lock` (where it is, or would be), `home` and each of `private` (state,
    cache, runtime and configuration directory). `presets` has facts about all `presets_needed`, `sources` about all
    `sources_needed`.
    `today` is the date in UTC, 2026-11-21. `project` is given for what commands made, and belongs to no file: `file`
    then says only where relative paths start. `stored` are the names that `sbx secret set` keeps; `git_identity` is
    the name and the address that git has on this host, looked up where `git_needed`. `beside` are the files that shape
    the sandboxes besides `file`, `lock` and env_files, there or not; `paths` has facts about them as well.
    `configuration` is what of this user and machine shapes them: policy files, and what clients are configured by.
    `here` is the directory that the names of files were given in; empty where those are not paths.
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
    project: str = ""
    stored: frozenset[str] = frozenset()
    git_identity: tuple[str, str] | None = None
    beside: tuple[str, ...] = ()
    configuration: tuple[FileContent, ...] = ()
    here: str = ""

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


def project_of(file: SandboxFile, inputs: ResolveInputs) -> str:
    """What the project is called: as commands say, else the file, else its directory."""
    return inputs.project or file.name or name_from(posixpath.basename(inputs.base))


def written_place(span: Span | None, inputs: ResolveInputs) -> str:
    """`team/policy.yaml:12:9`: from the project's directory, wherever commands are given; absolute outside of it."""
    if span is None:
        return ""
    return f"{_written_file(span.file, inputs.base, inputs.here, inputs.home)}:{span.line}:{span.column}"


@lru_cache  # thousands of rules are of a few files
def _written_file(file: str, base: str, here: str, home: str) -> str:
    path = absolute(file, here, home)
    return path.removeprefix(f"{base.rstrip('/')}/")


def paths_needed(file: SandboxFile, base: str, home: str) -> frozenset[str]:
    """Every path that the file names: workspaces, env_files, secrets', and what templates are made from."""
    sources = {source.name for source in sources_needed(file, base, home) if source.is_path}
    secrets = {path for secret in file.secrets.values() for path in secret_paths(secret, base, home)}
    return frozenset(sources | secrets | workspaces_needed(file, base, home) | env_files_needed(file, base, home))


def workspaces_needed(file: SandboxFile, base: str, home: str) -> frozenset[str]:
    """Those of `paths_needed` that are shared."""
    sandboxes = (file.defaults, *file.sandboxes.values())
    return frozenset(absolute(item.source, base, home) for sandbox in sandboxes for item in sandbox.workspaces)


def env_files_needed(file: SandboxFile, base: str, home: str) -> frozenset[str]:
    """Those of `paths_needed` whose content is needed."""
    sandboxes = (file.defaults, *file.sandboxes.values())
    return frozenset(absolute(path, base, home) for sandbox in sandboxes for path in sandbox.env_file)


def secret_paths(secret: Secret, base: str, home: str) -> tuple[str, ...]:
    """The file of a secret, and whatever in its command looks like a path: that runs at home."""
    if not secret.command:
        return (absolute(secret.file, base, home),) if secret.file else ()
    return command_paths((secret_program(secret.command[0], base, home), *secret.command[1:]), home)


def command_paths(words: Sequence[str], home: str) -> tuple[str, ...]:
    """Whatever looks like a path in a secret's command, as it is run: a script's words are looked at too."""
    parts = (part for word in words for part in _BETWEEN_PATHS.split(word))
    return tuple(dict.fromkeys(absolute(part, home, home) for part in parts if "/" in part and "\0" not in part))


def secret_program(word: str, base: str, home: str) -> str:
    """The program of a secret's command: a path counts from the file, as everywhere; a name is looked up."""
    return absolute(word, base, home) if "/" in word else word


def git_needed(file: SandboxFile) -> bool:
    """Whether some sandbox's commits are by whom git knows on this host."""
    return any(sandbox.git == OF_THE_HOST for sandbox in (file.defaults, *file.sandboxes.values()))


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
    used = {template_of(sandbox, file.defaults) for sandbox in file.sandboxes.values()}
    return frozenset(used & BUILTIN_TEMPLATES.keys())
