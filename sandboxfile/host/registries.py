"""Facts about presets: where this host's npm, pip and apt get their packages, mirrors and defaults included.

No registry's name is written here: what nobody configured is read from the installed client itself. What leaves this
module holds no credentials. URLs that are neither http nor https are nothing a sandbox could reach, and are left out.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sandboxfile.host.apt_sources import OVERRIDE, debian_sources, entries_in, read_sources
from sandboxfile.host.files import as_read
from sandboxfile.host.npm_config import Written, npm_config
from sandboxfile.resolve.inputs import PresetFacts, Registry

if TYPE_CHECKING:
    from sandboxfile.host.pip_config import PipConfig

_SUITE = "trixie"  # every suite of Debian that is not rolling comes from the same places


def preset_facts(
    presets: Collection[str],
    home: Path,
    environ: Mapping[str, str],
    root: Path = Path("/"),
    prefixes: tuple[Path, ...] = (),
) -> Mapping[str, PresetFacts]:
    """Facts about these presets. System files are looked for below `root`; `prefixes` are Python's, else this one's."""
    look: dict[str, Callable[[], PresetFacts]] = {
        "npm": lambda: _npm(home, environ, root),
        "pip": lambda: _pip(home, environ, root, prefixes),
        "apt": lambda: _apt(environ, root),
    }
    return MappingProxyType({preset: look[preset]() for preset in sorted(presets)})


def _npm(home: Path, environ: Mapping[str, str], root: Path) -> PresetFacts:
    config = npm_config(home, environ, root)
    main = config.registry or (Written(config.default, "npm") if config.default else None)
    registries = _clean([*([main] if main else []), *config.scoped])
    chosen = _clean([config.registry] if config.registry else [])
    differs = [item.url for item in chosen if config.default is None or not _same(item.url, config.default)]
    found = main is not None or bool(config.scoped)
    return PresetFacts(found, registries, _settings(npm_config_registry=differs), config.files)


def _pip(home: Path, environ: Mapping[str, str], root: Path, prefixes: tuple[Path, ...]) -> PresetFacts:
    from sandboxfile.host.pip_config import PREFIXES, pip_config  # here: few policies allow it, and it reads archives

    config = pip_config(home, environ, root, prefixes or PREFIXES)
    return replace(_indexes(config), files=config.files)


def _indexes(config: "PipConfig") -> PresetFacts:
    own = config.default
    found = own is not None or config.index is not None or bool(config.extra) or config.no_index
    if config.no_index:
        return PresetFacts(found)
    if config.index is None and own is not None:
        default = [Written(own.index, "pip"), Written(f"{urlsplit(own.index).scheme}://{own.files}/", "pip")]
        extra = _clean(config.extra)
        urls = [item.url for item in extra]
        return PresetFacts(found, (*_clean(default), *extra), _settings(PIP_EXTRA_INDEX_URL=urls))
    # An index that is a directory of this host does not exist inside: the next one takes its place.
    registries = _clean([*([config.index] if config.index else []), *config.extra])
    main, more = [item.url for item in registries[:1]], [item.url for item in registries[1:]]
    if own is not None and main and _same(main[0], own.index):
        files = _clean([Written(f"{urlsplit(own.index).scheme}://{own.files}/", "pip")])
        return PresetFacts(found, (*registries, *files), _settings(PIP_EXTRA_INDEX_URL=more))
    return PresetFacts(found, registries, _settings(PIP_INDEX_URL=main, PIP_EXTRA_INDEX_URL=more))


def _apt(environ: Mapping[str, str], root: Path) -> PresetFacts:
    sources = read_sources(root / "etc/apt")
    # The same choice as for images: it is what apt inside is configured for.
    chosen = debian_sources(entries_in(sources), _SUITE, environ.get(OVERRIDE, ""))
    files = tuple(as_read(path, text) for path, text in sources)
    return PresetFacts(bool(chosen), _clean(Written(entry.uri, "apt") for entry, _ in chosen), files=files)


def _settings(**values: list[str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, " ".join(urls)) for name, urls in values.items() if urls)


def _same(one: str, other: str) -> bool:
    return one.rstrip("/") == other.rstrip("/")


def _clean(written: Iterable[Written]) -> tuple[Registry, ...]:
    """Those that are http or https URLs, without credentials and repeats."""
    found: dict[str, Registry] = {}
    for item in written:
        try:
            parts = urlsplit(item.url)
            port = f":{parts.port}" if parts.port else ""
        except ValueError:
            continue
        if parts.scheme not in ("http", "https") or not parts.hostname:
            continue
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        url = parts._replace(netloc=host + port, query="", fragment="").geturl()
        found.setdefault(url, Registry(url, item.source if "@" in parts.netloc else ""))
    return tuple(found.values())
