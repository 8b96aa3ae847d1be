"""What things are called: projects, sandboxes, templates, and the identity `project/sandbox`.

Pure. Everybody uses it; it uses nobody.
"""

import re
from dataclasses import dataclass

NAME_PATTERN = r"[a-z0-9][a-z0-9_-]*"
BUILDS = "_build"  # the project of machines that build images: no file can call itself so
UNMANAGED = "_run"  # the project of sandboxes that commands made (`sbx run`): written without it
NAME_LIMIT = 63  # a sandbox's name is also its host name (RFC 1123 label)
_NAME = re.compile(rf"{NAME_PATTERN}\Z")
_NOT_NAME = re.compile(r"[^a-z0-9_-]+")


def is_name(text: str) -> bool:
    """Whether `text` can name a project, sandbox or template."""
    return len(text) <= NAME_LIMIT and _NAME.match(text) is not None


def name_from(text: str, fallback: str = "project") -> str:
    """The nearest valid name for arbitrary text, e.g. a directory's name ("My App" -> "my-app")."""
    cleaned = _NOT_NAME.sub("-", text.lower()).strip("-_")[:NAME_LIMIT].strip("-_")
    return cleaned or fallback


@dataclass(frozen=True, order=True, slots=True)
class SandboxId:
    """Identity of a sandbox on this host: its project and its name, written `project/name`; UNMANAGED ones `name`."""

    project: str
    name: str

    def __str__(self) -> str:
        return self.name if self.project == UNMANAGED else f"{self.project}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> "SandboxId":
        """Read what `str` writes. Raises ValueError when it is anything else."""
        project, slash, name = text.rpartition("/")
        if not slash:
            project = UNMANAGED
        elif not (is_name(project) or project == BUILDS):
            raise ValueError(f"not a sandbox identity (project/name): {text!r}")
        if not is_name(name):
            raise ValueError(f"not a sandbox identity (project/name): {text!r}")
        return cls(project, name)


@dataclass(frozen=True, order=True, slots=True)
class VolumeId:
    """Identity of a volume on this host: its project and its name, written `project/name`."""

    project: str
    name: str

    def __str__(self) -> str:
        return f"{self.project}/{self.name}"
