"""How a disk image is made, as data: where its root begins, and the steps upon that.

Made by `resolve`, built by `apply`. Digests are `sha256:` and 64 hexadecimal digits, except `Recipe.digest`, which is
the bare digits (a file name). Where something lies on this host, and where it stands in the file, takes no part in
comparison or in any digest.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from sandboxfile.model.policy import NO_POLICY, Policy

if TYPE_CHECKING:
    from sandboxfile.model.spec_templates import Template

# debian, ubuntu  a suite, by mmdebstrap from this host's mirrors
# oci             an image of a registry
# local           an image of this host's podman or docker
# tar             a root file system in a tar
# saved           a saved or imported sandbox, by its tag
# dockerfile      a build context of this host
OriginKind = Literal["debian", "ubuntu", "oci", "local", "tar", "saved", "dockerfile"]
StepKind = Literal["apt", "npm", "pip", "files", "run"]
Versions = tuple[tuple[str, str], ...]  # package, version; sorted


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a root begins.

    `reference`: suite; registry reference (`registry.example.com/team/image:tag`); local image; tag of a saved one;
    empty for those that lie at `path` (absolute: the tar, the build context). `digest`: of what the name stands for, as
    far as that is known (pinned by the lock, or read off this host). `packages`, and `versions` (what is pinned, with
    all that they depend on) belong to debian and ubuntu; `dockerfile` (relative to the context), `target` and `args`
    to dockerfile.
    """

    kind: OriginKind
    reference: str = ""
    digest: str = ""
    packages: tuple[str, ...] = ()
    versions: Versions = ()
    dockerfile: str = ""
    target: str = ""
    args: tuple[tuple[str, str], ...] = ()
    path: str = field(default="", compare=False)

    @property
    def missing(self) -> bool:
        """Whether it is a local image or a saved template, and there is none of its name."""
        return self.kind in ("local", "saved") and not self.digest


@dataclass(frozen=True, slots=True)
class PlacedFile:
    """A file of this host put into an image. `mode` are permission bits; `digest` that of its content."""

    target: str
    mode: int
    digest: str
    source: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class BuildStep:
    """One layer upon what is there before it.

    `packages` as their manager takes them (`typescript@5.1.6`); `versions` pins what came with them. `command` is an
    argument list, run as `user` with `env` besides the usual. `place` is `file:line:column`.
    """

    kind: StepKind
    packages: tuple[str, ...] = ()
    versions: Versions = ()
    files: tuple[PlacedFile, ...] = ()
    command: tuple[str, ...] = ()
    user: str = "root"
    env: tuple[tuple[str, str], ...] = ()
    place: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Recipe:
    """All inputs of an image. Equal inputs are the same image; `digest` names it in the cache.

    `epoch`: seconds since 1970 that no file of the image may be younger than; 0: not pinned, the time of the build.
    """

    origin: Origin
    steps: tuple[BuildStep, ...] = ()
    epoch: int = 0
    digest: str = ""


@dataclass(frozen=True, slots=True)
class DesiredTemplate:
    """A template of the file (or a built-in one that is used) and what its build may reach.

    `locked`: sandbox.lock says what it is made from; `content` is then what the lock expects of the result, and with
    `frozen` another result is refused.
    """

    name: str
    recipe: Recipe
    policy: Policy = NO_POLICY
    locked: bool = False
    content: str = ""
    frozen: bool = field(default=False, compare=False)
    written: "Template | None" = field(default=None, compare=False)
