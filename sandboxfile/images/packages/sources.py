"""Where packages come from: the mirrors that this host's own apt is configured for, never one of ours.

`SBX_DEBIAN_MIRROR` and `SBX_UBUNTU_MIRROR` (URLs) override. The suite is the image's own, not the host's.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sandboxfile.errors import BuildError
from sandboxfile.host.apt_sources import (
    APT_DIRECTORY,
    ARCHIVES,
    OVERRIDE,
    Distribution,
    Entry,
    archive_sources,
    read_entries,
)
from sandboxfile.host.process import run

__all__ = ["ARCHIVES", "OVERRIDE", "Distribution", "Sources", "apt_options", "host_sources", "source_lines"]

CREDENTIALS = re.compile(r"//[^/@\s]*@")
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


# Of these, what is a property of the mirror and not of how this host reaches it.
KEPT_OPTIONS = tuple(name for name in PASSED_OPTIONS if name.endswith(("-until", "-date", "-validtime")))


@dataclass(frozen=True, slots=True)
class Sources:
    """Lines for mmdebstrap, apt options for it, and the keyrings that the lines name."""

    lines: tuple[str, ...]
    options: tuple[str, ...]
    keyrings: tuple[Path, ...]

    @property
    def inside(self) -> tuple[str, str]:
        """The text of sources.list and of apt's configuration for an image, which anybody may come to have.

        Not how this host gets to the mirrors: a proxy of this network, certificates and keys for it, names and
        passwords in URLs. A sandbox has its own way out.
        """
        lines = "".join(f"{CREDENTIALS.sub('//', line)}\n" for line in self.lines)
        kept = [option for option in self.options if _among(option.partition(" ")[0].lower(), KEPT_OPTIONS)]
        return lines, "".join(f"{option};\n" for option in kept)


async def host_sources(
    suite: str,
    distribution: Distribution = "debian",
    environ: Mapping[str, str] = os.environ,
    directory: Path = APT_DIRECTORY,
) -> Sources:
    """This host's sources for a suite. Raises BuildError when it has no mirror of that distribution, or no keys."""
    archive = ARCHIVES[distribution]
    override = environ.get(archive.override, "")
    lines, keyrings = source_lines(read_entries(directory), suite, override, distribution)
    if not lines:
        raise BuildError(
            f"cannot get packages of {archive.title} {suite}: apt on this host has no {archive.title} mirror",
            hint=f"set {archive.override}=https://mirror.example.com/{distribution}, or add a mirror to"
            f" {directory}/sources.list",
        )
    if override and not keyrings:
        raise BuildError(
            f"cannot check packages of {archive.title} {suite}: this host does not have {archive.keyring}",
            hint=f"install the package {archive.package}",
        )
    return Sources(lines, await _options(), keyrings)


def source_lines(
    entries: Iterable[Entry], suite: str, override: str = "", distribution: Distribution = "debian"
) -> tuple[tuple[str, ...], tuple[Path, ...]]:
    """One-line sources for `suite` and the keyrings they name; empty when no entry is a mirror of the distribution."""
    chosen = archive_sources(distribution, entries, suite, override)
    keyrings = tuple(sorted({Path(entry.signed_by) for entry, _ in chosen if entry.signed_by}))
    return tuple(_line(entry, name, ARCHIVES[distribution].components) for entry, name in chosen), keyrings


def _line(entry: Entry, suite: str, components: Iterable[str]) -> str:
    options = f"[signed-by={entry.signed_by}] " if entry.signed_by else ""
    return f"deb {options}{entry.uri} {suite} {' '.join(components)}"


async def _options() -> tuple[str, ...]:
    return apt_options(await run(["apt-config", "dump"], what="read apt's configuration", error=BuildError))


def apt_options(dump: str) -> tuple[str, ...]:
    """Of what `apt-config dump` prints, the options that reach the mirrors, in a form for `mmdebstrap --aptopt`."""
    options = []
    for line in dump.splitlines():
        name, _, value = line.rstrip().removesuffix(";").partition(" ")
        if value in ("", '""') or not _among(name.lower(), PASSED_OPTIONS):
            continue
        options.append(f"{name} {value}")
    return tuple(options)


def _among(name: str, options: Iterable[str]) -> bool:
    return any(name == option or name.startswith(f"{option}::") for option in options)
