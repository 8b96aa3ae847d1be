"""Where on this host a repository lies that is fetched from: whoever can write there can move its branches."""

import os
from pathlib import Path
from urllib.parse import unquote

from sandboxfile.errors import SandboxfileError
from sandboxfile.host.files import read_file

_INSIDE = "/.git"
_ALSO = ("", ".git", ".git/.git")  # what git tries where there is no .git inside


def places_of(address: str) -> tuple[str, ...]:
    """The places of a repository by its address; none when it is not on this host.

    A .git that is a file leads to another place, and the directory of a further work tree to the one that has the refs.
    """
    path = _path(address)
    if path is None:
        return ()
    tried = [_INSIDE] if os.path.lexists(path + _INSIDE) else _ALSO
    found = [path + suffix for suffix in tried if os.path.lexists(path + suffix)] or [path]
    return tuple(place for start in found for place in _led(start))


def _path(address: str) -> str | None:
    """The absolute path that git makes of it; a host in file://HOST/PATH is nothing to it."""
    if address.startswith("file://"):
        return "/" + unquote(address.removeprefix("file://")).partition("/")[2].strip("/")
    return address if address.startswith("/") else None


def _led(place: str) -> list[str]:
    places = [place]
    mark, _, link = _said(place).partition(": ")
    if mark == "gitdir":
        places.append(os.path.join(os.path.dirname(place), link))  # noqa: PTH118, PTH120
    if common := _said(f"{places[-1]}/commondir"):
        places.append(os.path.join(places[-1], common))  # noqa: PTH118
    return places


def _said(path: str) -> str:
    """The text of a small file; empty when it is none."""
    try:
        return os.fsdecode(read_file(Path(path))).strip()
    except SandboxfileError:
        return ""
