"""Where Debian packages come from: the mirrors that this host's own apt is configured for, never one of ours.

`SBX_DEBIAN_MIRROR` (a URL) overrides. The suite is the image's own, not the host's.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sandboxfile.errors import BuildError
from sandboxfile.host.apt_sources import APT_DIRECTORY, OVERRIDE, STANDARD_KEYRING, Entry, debian_sources, read_entries
from sandboxfile.host.process import run

__all__ = ["OVERRIDE", "STANDARD_KEYRING", "Sources", "apt_options", "host_sources", "source_lines"]

# What decides how apt reaches its mirrors and what it accepts of them. Everything else is this host's own business.
PASSED_OPTIONS = (
    "acquire::http",
    "acquire::https",
    "acquire::retries",
    "acquire::forceipv4",
    "acquire::forceipv6",
    "acquire::check-valid-until",
    "acquire::check-date",
    "acquire::min-validtime",
    "acquire::max-validtime",
)


@dataclass(frozen=True, slots=True)
class Sources:
    """Lines for mmdebstrap, apt options for it, and the keyrings that the lines name."""

    lines: tuple[str, ...]
    options: tuple[str, ...]
    keyrings: tuple[Path, ...]


async def host_sources(suite: str, environ: Mapping[str, str] = os.environ, directory: Path = APT_DIRECTORY) -> Sources:
    """This host's sources for a Debian suite. Raises BuildError when it has no Debian mirror."""
    entries = read_entries(directory)
    lines, keyrings = source_lines(entries, suite, environ.get(OVERRIDE, ""))
    if not lines:
        raise BuildError(
            f"cannot get packages of Debian {suite}: apt on this host has no Debian mirror",
            hint=f"set {OVERRIDE}=https://mirror.example.com/debian, or add a mirror to {directory}/sources.list",
        )
    return Sources(lines, await _options(), keyrings)


def source_lines(entries: Iterable[Entry], suite: str, override: str = "") -> tuple[tuple[str, ...], tuple[Path, ...]]:
    """One-line sources for `suite` and the keyrings they name; empty when no entry is a Debian mirror."""
    chosen = debian_sources(entries, suite, override)
    keyrings = tuple(sorted({Path(entry.signed_by) for entry, _ in chosen if entry.signed_by}))
    return tuple(_line(entry, name) for entry, name in chosen), keyrings


def _line(entry: Entry, suite: str) -> str:
    options = f"[signed-by={entry.signed_by}] " if entry.signed_by else ""
    return f"deb {options}{entry.uri} {suite} main"


async def _options() -> tuple[str, ...]:
    return apt_options(await run(["apt-config", "dump"], what="read apt's configuration", error=BuildError))


def apt_options(dump: str) -> tuple[str, ...]:
    """Of what `apt-config dump` prints, the options that reach the mirrors, in a form for `mmdebstrap --aptopt`."""
    options = []
    for line in dump.splitlines():
        name, _, value = line.rstrip().removesuffix(";").partition(" ")
        if value in ("", '""') or not _passed(name.lower()):
            continue
        options.append(f"{name} {value}")
    return tuple(options)


def _passed(name: str) -> bool:
    return any(name == option or name.startswith(f"{option}::") for option in PASSED_OPTIONS)
