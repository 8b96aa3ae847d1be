"""Who commits are by on this host, as git says: from this user's own configuration, and no repository's."""

import json
import posixpath
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sandboxfile.host.files import as_read
from sandboxfile.model.desired import FileContent

_PATIENCE = 10.0  # seconds
_LIMIT = 1000  # characters of a name
_INCLUDE = re.compile(r"include(if\..*)?\.path\Z")
_IDENTITY = ("user.name", "user.email")

Entry = tuple[str, str, str]  # file, key, value


@dataclass(frozen=True, slots=True)
class GitConfig:
    """`identity` is a name and an address, None when git is not there or does not know both.

    `files` are those that say so, or would, had they been there, each with a digest of what it says about it: git reads
    them, and nobody else, so nothing can change in between.
    """

    identity: tuple[str, str] | None = None
    files: tuple[FileContent, ...] = ()


def git_identity(home: Path, environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Name and address, None when git is not there or does not know both."""
    return git_config(home, environ).identity


def git_config(home: Path, environ: Mapping[str, str]) -> GitConfig:
    """What this user's configuration of git says about who commits are by."""
    entries = [entry for entry in _entries(home, environ) if entry[1] in _IDENTITY or _INCLUDE.match(entry[1])]
    last = {key: value for _, key, value in entries}
    name, email = (_usable(last.get(key, "")) for key in _IDENTITY)
    said: dict[str, list[tuple[str, str]]] = {path: [] for path in (*_own(home, environ), *_included(entries, home))}
    for path, key, value in entries:
        said.setdefault(path, []).append((key, value))
    files = tuple(as_read(Path(path), json.dumps(each) if each else None) for path, each in said.items())
    return GitConfig((name, email) if name and email else None, files)


def _entries(home: Path, environ: Mapping[str, str]) -> Iterator[Entry]:
    # With --global git reads no included files unless told to.
    argv = ["git", "config", "--global", "--includes", "--show-origin", "--null", "--list"]
    try:
        done = subprocess.run(
            argv,
            cwd=home,
            env={**environ, "HOME": str(home), "GIT_DIR": "/nonexistent"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return
    fields = done.stdout.decode(errors="surrogateescape").split("\0") if done.returncode == 0 else []
    for origin, entry in zip(fields[::2], fields[1::2], strict=False):
        key, _, value = entry.partition("\n")
        yield posixpath.join(str(home), origin.removeprefix("file:")), key, value


def _usable(text: str) -> str:
    return text if text.isprintable() and len(text) <= _LIMIT else ""


def _own(home: Path, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Where git looks first, whatever is there."""
    if given := environ.get("GIT_CONFIG_GLOBAL"):
        return (posixpath.join(str(home), given),)
    settings = environ.get("XDG_CONFIG_HOME") or f"{home}/.config"
    return f"{home}/.gitconfig", f"{settings}/git/config"


def _included(entries: Iterable[Entry], home: Path) -> Iterator[str]:
    for path, key, value in entries:
        if _INCLUDE.match(key):
            named = f"{home}{value[1:]}" if value.startswith("~/") else value
            yield posixpath.join(posixpath.dirname(path), named)
