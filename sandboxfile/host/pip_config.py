"""Which package indexes this host's pip is configured for. Reads pip's own files and never runs pip.

Files over files in pip's order (global, user, site, PIP_CONFIG_FILE), `[install]` over `[global]`, PIP_* variables over
all.
"""

import configparser
import os
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

from sandboxfile.host.files import as_read, read_text
from sandboxfile.host.npm_config import Written
from sandboxfile.model.desired import FileContent

_INDEX = "pip/_internal/models/index.py"
_DEFAULT = re.compile(
    r"""^PyPI\s*=\s*PackageIndex\(\s*['"](https?://[^'"]+)['"]\s*,\s*file_storage_domain\s*=\s*['"]([^'"]+)['"]""",
    re.MULTILINE,
)
_SITES = ("lib/python3*/site-packages", "lib/python3*/dist-packages", "lib/python3/dist-packages")
_WHEELS = ("share/python-wheels/pip-*.whl", "lib/python3*/ensurepip/_bundled/pip-*.whl")
PREFIXES = (Path(sys.prefix), Path(sys.base_prefix))
_SOURCE_LIMIT = 1 << 20  # bytes of a module
_TRUE = frozenset({"1", "true", "yes", "on", "t", "y"})


@dataclass(frozen=True, slots=True)
class PipDefault:
    """What pip uses by itself: the URL of the index, and the host that the files come from."""

    index: str
    files: str


@dataclass(frozen=True, slots=True)
class PipConfig:
    """`default` is None without a client. `index` takes its place, `extra` come besides.

    `files` are those that were read, or would have been, had they been there.
    """

    default: PipDefault | None
    index: Written | None
    extra: tuple[Written, ...]
    no_index: bool = False
    files: tuple[FileContent, ...] = ()


def pip_config(
    home: Path, environ: Mapping[str, str], root: Path = Path("/"), prefixes: tuple[Path, ...] = PREFIXES
) -> PipConfig:
    """pip's configuration. `prefixes` are Python's own, that of a virtual environment first."""
    texts = [(path, read_text(path)) for path in _files(home, environ, root, prefixes[0])]
    values = _values(texts, environ)
    index = values.get("index-url")
    extra = values.get("extra-index-url", Written("", ""))
    return PipConfig(
        default=_default((*prefixes, root / "usr/local", root / "usr")),
        index=index,
        extra=tuple(Written(url, extra.source) for url in extra.url.split()),
        no_index=values.get("no-index", Written("", "")).url.lower() in _TRUE,
        files=tuple(as_read(path, text) for path, text in texts),
    )


def _values(texts: Sequence[tuple[Path, str | None]], environ: Mapping[str, str]) -> dict[str, Written]:
    sections: dict[str, dict[str, Written]] = {"global": {}, "install": {}}
    for path, text in texts:
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read_string(text or "")
        except configparser.Error:
            continue  # pip would refuse to run
        for name, values in sections.items():
            for key, value in parser.items(name) if parser.has_section(name) else ():
                values[key.replace("_", "-")] = Written(value.strip(), str(path))
    variables = {
        key[4:].lower().replace("_", "-"): Written(value.strip(), key)
        for key, value in environ.items()
        if key.startswith("PIP_") and value
    }
    merged = {**sections["global"], **sections["install"], **variables}
    return {key: written for key, written in merged.items() if written.url}


def _files(home: Path, environ: Mapping[str, str], root: Path, prefix: Path) -> Iterator[Path]:
    given = environ.get("PIP_CONFIG_FILE", "")
    if given == os.devnull:
        return
    directories = [Path(part) for part in environ.get("XDG_CONFIG_DIRS", "").split(":") if part]
    yield from (directory / "pip/pip.conf" for directory in reversed(directories or [root / "etc/xdg"]))
    yield root / "etc/pip.conf"
    yield home / ".pip/pip.conf"
    yield Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip/pip.conf"
    yield Path(environ.get("VIRTUAL_ENV") or prefix) / "pip.conf"
    if given:
        yield Path(given)


def _default(prefixes: tuple[Path, ...]) -> PipDefault | None:
    for text in _sources(prefixes):
        if found := _DEFAULT.search(text):
            return PipDefault(urljoin(found[1], "simple"), found[2])
    return None


def _sources(prefixes: tuple[Path, ...]) -> Iterator[str]:
    """The module that holds the defaults, of every pip that is found: unpacked, then in wheels."""
    for prefix in prefixes:
        for pattern in _SITES:
            for site in sorted(prefix.glob(pattern), reverse=True):
                yield read_text(site / _INDEX) or ""
    for prefix in prefixes:
        for pattern in _WHEELS:
            for wheel in sorted(prefix.glob(pattern), reverse=True):
                yield _in_wheel(wheel)


def _in_wheel(wheel: Path) -> str:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(_INDEX) as file:
            return file.read(_SOURCE_LIMIT).decode(errors="replace")
    except (OSError, KeyError, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return ""
