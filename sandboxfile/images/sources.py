"""Where Debian packages come from: the mirrors that this host's own apt is configured for, never one of ours.

`SBX_DEBIAN_MIRROR` (a URL) overrides. Entries count as Debian's when a part of their path is `debian`, and as its
security archive when one is `debian-security`; the suite is the image's own, not the host's.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from sandboxfile.errors import BuildError
from sandboxfile.host.process import run

OVERRIDE = "SBX_DEBIAN_MIRROR"
APT_DIRECTORY = Path("/etc/apt")
STANDARD_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
ROLLING = frozenset({"sid", "unstable", "experimental"})  # these have neither updates nor a security archive
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
class Entry:
    """One line or stanza of apt's sources. `signed_by` is an absolute keyring path, or empty."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ""


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
    """One-line sources for `suite` and the keyrings they name; empty when no entry is a Debian mirror.

    The `-updates` suite and the security archive follow when the host has them for its own suite.
    """
    found = tuple(entries)
    keyring = str(STANDARD_KEYRING) if STANDARD_KEYRING.exists() else ""
    main = next((entry for entry in found if "main" in entry.components and _archive(entry.uri) == "debian"), None)
    if override:
        chosen = [(Entry(override, (), ("main",), keyring), suite)]
    elif main is None:
        return (), ()
    else:
        chosen = [(main, suite)]
        rolling = suite in ROLLING
        if not rolling and any(
            name.endswith("-updates") for entry in found if _archive(entry.uri) == "debian" for name in entry.suites
        ):
            chosen.append((main, f"{suite}-updates"))
        security = next((entry for entry in found if _archive(entry.uri) == "debian-security"), None)
        if security is not None and not rolling:
            chosen.append((security, f"{suite}-security"))
    keyrings = tuple(sorted({Path(entry.signed_by) for entry, _ in chosen if entry.signed_by}))
    return tuple(_line(entry, name) for entry, name in chosen), keyrings


def _line(entry: Entry, suite: str) -> str:
    options = f"[signed-by={entry.signed_by}] " if entry.signed_by else ""
    return f"deb {options}{entry.uri} {suite} main"


def _archive(uri: str) -> str:
    parts = urlsplit(uri).path.split("/")
    return next((name for name in ("debian-security", "debian") if name in parts), "")


def read_entries(directory: Path = APT_DIRECTORY) -> tuple[Entry, ...]:
    """Every binary-package entry of apt's sources below `directory`, in apt's order. Unreadable files are skipped."""
    entries: list[Entry] = []
    parts = directory / "sources.list.d"
    for path in (directory / "sources.list", *(sorted(parts.iterdir()) if parts.is_dir() else ())):
        try:
            text = path.read_text(errors="replace")
        except OSError:
            continue
        if path.suffix == ".list":
            entries += parse_lines(text)
        elif path.suffix == ".sources":
            entries += parse_stanzas(text)
    return tuple(entries)


def parse_lines(text: str) -> list[Entry]:
    """The one-line format: `deb [option=value ...] URI SUITE COMPONENT...`, sources.list(5)."""
    entries = []
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if not words or words[0] != "deb":
            continue
        options: list[str] = []
        rest = words[1:]
        if rest and rest[0].startswith("["):
            end = next((index for index, word in enumerate(rest) if word.endswith("]")), len(rest) - 1)
            options = " ".join(rest[: end + 1]).strip("[] ").split()
            rest = rest[end + 1 :]
        if len(rest) < 2 or not _usable(rest[0]):
            continue
        signed = next((option.partition("=")[2] for option in options if option.lower().startswith("signed-by=")), "")
        entries.append(Entry(rest[0], (rest[1],), tuple(rest[2:]), _keyring(signed)))
    return entries


def parse_stanzas(text: str) -> list[Entry]:
    """The deb822 format, sources.list(5): stanzas of `Field: value`, with continuation lines and comments."""
    entries = []
    for fields in _stanzas(text):
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").strip().lower() == "no":
            continue
        entries += [
            Entry(
                uri,
                tuple(fields.get("suites", "").split()),
                tuple(fields.get("components", "").split()),
                _keyring(fields.get("signed-by", "")),
            )
            for uri in fields.get("uris", "").split()
            if _usable(uri)
        ]
    return entries


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    fields: dict[str, str] = {}
    name = ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if fields:
                yield fields
            fields, name = {}, ""
        elif line[0] in " \t":
            if name:
                fields[name] += "\n" + line.strip()
        else:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()


def _usable(uri: str) -> bool:
    return urlsplit(uri).scheme in ("http", "https")


def _keyring(value: str) -> str:
    """The path of a `Signed-By` that is one; key text within the stanza and fingerprints leave it to apt's own keys."""
    words = value.replace(",", " ").split()
    return words[0] if words and words[0].startswith("/") else ""


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
