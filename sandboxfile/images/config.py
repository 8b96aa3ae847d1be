"""What an image says besides its files, in our few words; and what fetching an origin gives. Pure.

An image's own configuration comes from strangers: it is read with bounds; what no process could be given is refused.
Of what the OCI image specification allows, only what a sandbox acts upon is kept: no volumes, ports, labels, health.
"""

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandboxfile.errors import BuildError
from sandboxfile.model.template import Versions

ENTRIES = 4096  # variables, and words of the command
CHARACTERS = 128 << 10  # of one variable or word: Linux takes no longer one (MAX_ARG_STRLEN)
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}  # what uname says, in the words of images
VARIABLE = re.compile(r"[^=]+")
UNFIT = re.compile("[\0\ud800-\udfff]")  # ends a string of C; is no character (JSON can write one all the same)


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """How an image wants its processes started. `env` in the image's order; `command` is entrypoint and command.

    `user` is as in a Dockerfile: `NAME`, `UID`, either with `:GROUP`. Empty: the image does not say.
    """

    env: tuple[tuple[str, str], ...] = ()
    user: str = ""
    workdir: str = ""
    command: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As the `config` of an OCI image configuration; what is empty is left out."""
        fields: dict[str, Any] = {
            "User": self.user,
            "Env": [f"{name}={value}" for name, value in self.env],
            "Cmd": list(self.command),
            "WorkingDir": self.workdir,
        }
        return {name: value for name, value in fields.items() if value}


@dataclass(frozen=True, slots=True)
class Fetched:
    """An origin as layers, lowest first: tars, perhaps compressed, below the directory it was fetched into.

    `digest` is of what the reference turned out to stand for: of the index or manifest in a registry, of the image's
    configuration for a local image, of the file for a tar, of layers and configuration for a Dockerfile. `contents` are
    the digests of the layers uncompressed, where the image says them.
    """

    layers: tuple[Path, ...]
    config: ImageConfig
    digest: str
    versions: Versions = ()
    contents: tuple[str, ...] = ()


def architecture() -> str:
    """This machine's, in the words of images: amd64, arm64."""
    return ARCHITECTURES.get(platform.machine(), platform.machine())


def from_json(value: object) -> ImageConfig:
    """Read the `config` of an OCI image configuration, or what `to_json` made. Raises BuildError."""
    if value is None:
        return ImageConfig()
    if not isinstance(value, Mapping):
        raise BuildError("the image's configuration is not a JSON object")
    variables = dict(_variable(item) for item in _strings(value, "Env"))
    command = (*_strings(value, "Entrypoint"), *_strings(value, "Cmd"))
    return ImageConfig(tuple(variables.items()), _string(value, "User"), _string(value, "WorkingDir"), command)


def _variable(item: str) -> tuple[str, str]:
    name, _, content = item.partition("=")
    if not VARIABLE.fullmatch(name):
        raise BuildError(f"the image's configuration sets a variable without a name: {item[:80]!r}")
    return name, content


def _strings(value: Mapping[str, object], name: str) -> tuple[str, ...]:
    items = value.get(name)
    if items is None:
        return ()
    if not isinstance(items, list) or len(items) > ENTRIES:
        raise BuildError(f"the image's configuration has something else than a list of at most {ENTRIES} as {name}")
    return tuple(_checked(item, name) for item in items)


def _string(value: Mapping[str, object], name: str) -> str:
    return _checked(value.get(name) or "", name)


def _checked(item: object, name: str) -> str:
    if not isinstance(item, str) or len(item) > CHARACTERS or UNFIT.search(item):
        raise BuildError(f"the image's configuration has something that no process could be given as {name}")
    return item
