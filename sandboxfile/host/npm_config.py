"""Which registries this host's npm is configured for. Reads npm's own files and never runs npm.

The npmrc of a project is not read: what is inside a sandbox must not choose what the sandbox may reach. npm reads it
there by itself.
"""

import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sandboxfile.host.files import as_read, read_text
from sandboxfile.model.desired import FileContent

_SCOPED = re.compile(r"@[^:/]+:registry\Z")
_VARIABLE = re.compile(r"\$\{([^}]+)\}")
# `new Definition('registry', {default: 'URL'`, `define('registry', {default: 'URL'`, and npm 6: `registry: 'URL'`.
_DEFAULT = re.compile(r"""['"]registry['"]\s*,\s*\{\s*default:\s*['"`](https?://[^'"`]+)""")
_OLD_DEFAULT = re.compile(r"""\bregistry\s*:\s*['"](https?://[^'"]+)""")
_DEFINITIONS = (  # below the directory of the package `npm`; the second one is Debian's
    "node_modules/@npmcli/config/lib/definitions/definitions.js",
    "../@npmcli/config/lib/definitions/definitions.js",
    "lib/utils/config/definitions.js",
    "lib/config/defaults.js",
)
_PACKAGES = ("usr/lib/node_modules/npm", "usr/local/lib/node_modules/npm", "usr/share/nodejs/npm", "usr/share/npm")


@dataclass(frozen=True, slots=True)
class Written:
    """A URL as somebody wrote it, and where."""

    url: str
    source: str


@dataclass(frozen=True, slots=True)
class NpmConfig:
    """`default` is the client's own registry, None without a client; `registry` what takes its place.

    `files` are those that were read, or would have been, had they been there.
    """

    default: str | None
    registry: Written | None
    scoped: tuple[Written, ...]
    files: tuple[FileContent, ...]


def npm_config(home: Path, environ: Mapping[str, str], root: Path = Path("/")) -> NpmConfig:
    """npm's configuration: environment over the user's file over the global ones over the client's own."""
    package = _package(environ, root)
    user = _read(Path(_option(environ, "userconfig") or home / ".npmrc"), environ)
    prefix = _option(environ, "prefix") or user.values.get("prefix", "")
    others = (*_global(environ, prefix, root), *([package / "npmrc"] if package else []))
    files = (user, *(_read(path, environ) for path in others))
    levels = [(_environment(environ), "npm_config_registry"), *((file.values, file.source) for file in files)]
    found: dict[str, Written] = {}
    for values, source in levels:
        for key, value in values.items():
            if value and (key == "registry" or _SCOPED.match(key)):
                found.setdefault(key, Written(value, source))
    registry = found.pop("registry", None)
    scoped = tuple(found[key] for key in sorted(found))
    contents = tuple(file.content for file in files)
    return NpmConfig(_default(package) if package else None, registry, scoped, contents)


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    return {"registry": _option(environ, "registry")}


def _option(environ: Mapping[str, str], name: str) -> str:
    """npm takes its variables in any case; an empty one counts as none."""
    wanted = f"npm_config_{name}"
    return environ.get(wanted) or next((value for key, value in environ.items() if key.lower() == wanted), "")


def _global(environ: Mapping[str, str], prefix: str, root: Path) -> Iterator[Path]:
    if given := _option(environ, "globalconfig"):
        yield Path(given)
        return
    node = shutil.which("node", path=environ.get("PATH", ""))
    if prefix:
        yield Path(prefix) / "etc/npmrc"
    elif node:
        yield Path(node).resolve().parent.parent / "etc/npmrc"
    yield root / "etc/npmrc"


@dataclass(frozen=True, slots=True)
class _Npmrc:
    """The keys of an npmrc above its first section, with `${VARIABLE}` replaced."""

    source: str
    values: Mapping[str, str]
    content: FileContent


def _read(path: Path, environ: Mapping[str, str]) -> _Npmrc:
    text = read_text(path)
    return _Npmrc(str(path), _values(text or "", environ), as_read(path, text))


def _values(text: str, environ: Mapping[str, str]) -> dict[str, str]:
    values: dict[str, str] = {}
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("["):
            break
        key, equals, value = line.partition("=")
        if equals and not line.startswith((";", "#")):
            bare = value.strip().strip("'\"")
            values[key.strip()] = _VARIABLE.sub(lambda found: environ.get(found[1].rstrip("?"), ""), bare)
    return values


def _package(environ: Mapping[str, str], root: Path) -> Path | None:
    """The directory of the installed package `npm`: of the one on PATH, else where systems have it."""
    command = shutil.which("npm", path=environ.get("PATH", ""))
    candidates = [Path(command).resolve().parent.parent] if command else []
    candidates += [root / path for path in _PACKAGES]
    return next((path for path in candidates if _default(path)), None)


def _default(package: Path) -> str | None:
    for name in _DEFINITIONS:
        text = read_text(package / name) or ""
        found = _DEFAULT.search(text) or _OLD_DEFAULT.search(text)
        if found:
            return found[1]
    return None
