"""The sources that this host's apt is configured for, as data, and which of them are Debian's. Reads files only.

Entries count as Debian's when a part of their path is `debian`, and as its security archive when one is
`debian-security`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

OVERRIDE = "SBX_DEBIAN_MIRROR"  # a URL that takes the place of this host's mirrors
APT_DIRECTORY = Path("/etc/apt")
STANDARD_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
ROLLING = frozenset({"sid", "unstable", "experimental"})  # these have neither updates nor a security archive


@dataclass(frozen=True, slots=True)
class Entry:
    """One line or stanza of apt's sources. `signed_by` is an absolute keyring path, or empty."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ""


def debian_sources(entries: Iterable[Entry], suite: str, override: str = "") -> tuple[tuple[Entry, str], ...]:
    """Entries and the suites to get from them for an image of `suite`; empty when no entry is a Debian mirror.

    The `-updates` suite and the security archive follow when the host has them for its own suite.
    """
    found = tuple(entries)
    if override:
        return ((Entry(override, (), ("main",), str(STANDARD_KEYRING) if STANDARD_KEYRING.exists() else ""), suite),)
    debian = [entry for entry in found if _archive(entry.uri) == "debian"]
    main = next((entry for entry in debian if "main" in entry.components), None)
    if main is None:
        return ()
    chosen = [(main, suite)]
    if suite in ROLLING:
        return tuple(chosen)
    if any(name.endswith("-updates") for entry in debian for name in entry.suites):
        chosen.append((main, f"{suite}-updates"))
    security = next((entry for entry in found if _archive(entry.uri) == "debian-security"), None)
    if security is not None:
        chosen.append((security, f"{suite}-security"))
    return tuple(chosen)


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
