"""The programs of this host that keep or build container images: which there are, and what they have under a name.

Asks and changes nothing, waits a bounded time, never raises: facts for a plan and for `sbx doctor` come from here.
buildah and podman share one store, which each user has for himself; docker asks its daemon.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Engine = Literal["buildah", "podman", "docker"]
ENGINES: tuple[Engine, ...] = ("buildah", "podman", "docker")
CHOICE = "SBX_BUILDER"  # one of ENGINES, when the first that works is not the one wanted
SECONDS = 5.0
IDENTITY = re.compile("(?:sha256:)?([0-9a-f]{64})")
# What prints the identity of an image by its name, and never looks outside this host.
INSPECT: Mapping[Engine, tuple[str, ...]] = {
    "buildah": ("inspect", "--type", "image", "--format", "{{.FromImageID}}", "--"),
    "podman": ("image", "inspect", "--format", "{{.Id}}", "--"),
    "docker": ("image", "inspect", "--format", "{{.Id}}", "--"),
}


@dataclass(frozen=True, slots=True)
class Builder:
    """A program that builds Dockerfiles. `version`: its own; docker's is that of its daemon."""

    name: Engine
    path: Path
    version: str


@dataclass(frozen=True, slots=True)
class LocalImage:
    """What `engine` has under a name; `id` is `sha256:` and the digest of the image's configuration."""

    engine: Engine
    id: str


def find_builder(environ: Mapping[str, str] = os.environ) -> Builder | None:
    """The first of buildah, podman and docker that works here, or the one that SBX_BUILDER names, if it works."""
    deadline = time.monotonic() + SECONDS
    for engine in ENGINES:
        path = shutil.which(engine, path=environ.get("PATH"))
        if path is None or environ.get(CHOICE, "") not in ("", engine):
            continue
        question = ("version", "--format", "{{.Server.Version}}") if engine == "docker" else ("--version",)
        if found := re.search(r"\d+(\.\d+)+\S*", _ask([path, *question], environ, deadline) or ""):
            return Builder(engine, Path(path), found[0])
    return None


def local_image(name: str, environ: Mapping[str, str] = os.environ) -> LocalImage | None:
    """What the first engine that knows `name` has under it. About 0.1 s an engine, 5 s at most for all of them."""
    deadline = time.monotonic() + SECONDS
    paths = {engine: path for engine in ENGINES if (path := shutil.which(engine, path=environ.get("PATH")))}
    if "buildah" in paths:
        paths.pop("podman", None)  # the same images; and podman leaves a process of its own behind for ordinary users
    for engine, path in paths.items():
        answer = _ask([path, *INSPECT[engine], name], environ, deadline)
        if found := IDENTITY.fullmatch((answer or "").strip()):
            return LocalImage(engine, f"sha256:{found[1]}")
    return None


def local_image_id(name: str) -> str | None:
    """`sha256:…` of the image that this host's podman, buildah or docker has under `name`; None when none has."""
    found = local_image(name)
    return found.id if found else None


def _ask(command: Sequence[str], environ: Mapping[str, str], deadline: float) -> str | None:
    """What the program prints, if it succeeds in time."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**environ, "LC_ALL": "C.UTF-8"},
            timeout=max(0.1, deadline - time.monotonic()),
            check=False,
        )
    except (OSError, ValueError, subprocess.SubprocessError):  # ValueError: no program takes such a name
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None
