"""The sources that this host's apt is configured for, as data, and which are a distribution's. Reads files only.

Entries count as Debian's when a part of their path is `debian`, and as its security archive when one is
`debian-security`; as Ubuntu's when one is `ubuntu` or `ubuntu-ports`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal
from urllib.parse import urlsplit

Distribution = Literal["debian", "ubuntu"]

APT_DIRECTORY = Path("/etc/apt")
ROLLING = frozenset({"sid", "unstable", "experimental"})  # these have neither updates nor a security archive


@dataclass(frozen=True, slots=True)
class Archive:
    """What is known of a distribution's archive.

    `paths` and `security` are parts of the paths of its mirrors' URLs; `security` is empty where the one archive has it
    all. `override` is the environment variable with URLs that take the place of this host's mirrors. `package` has the
    `keyring`.
    """

    title: str
    paths: tuple[str, ...]
    security: str
    components: tuple[str, ...]
    override: str
    keyring: Path
    package: str


ARCHIVES: Mapping[Distribution, Archive] = MappingProxyType(
    {
        "debian": Archive(
            title="Debian",
            paths=("debian",),
            security="debian-security",
            components=("main",),
            override="SBX_DEBIAN_MIRROR",
            keyring=Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
            package="debian-archive-keyring",
        ),
        "ubuntu": Archive(
            title="Ubuntu",
            paths=("ubuntu", "ubuntu-ports"),
            security="",
            components=("main", "universe"),  # docker and most tools are in universe
            override="SBX_UBUNTU_MIRROR",
            keyring=Path("/usr/share/keyrings/ubuntu-archive-keyring.gpg"),
            package="ubuntu-archive-keyring",
        ),
    }
)
OVERRIDE = ARCHIVES["debian"].override


@dataclass(frozen=True, slots=True)
class Entry:
    """One line or stanza of apt's sources. `signed_by` is an absolute keyring path, or empty."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ""


def archive_sources(
    distribution: Distribution, entries: Iterable[Entry], suite: str, override: str = ""
) -> tuple[tuple[Entry, str], ...]:
    """Entries and the suites to get from them for an image of `suite`; empty when no entry is such a mirror.

    `override`: URLs, with spaces between them, that count instead of the entries.
    """
    return (debian_sources if distribution == "debian" else ubuntu_sources)(entries, suite, override)


def debian_sources(entries: Iterable[Entry], suite: str, override: str = "") -> tuple[tuple[Entry, str], ...]:
    """The `-updates` suite and the security archive follow when the host has them for its own suite.

    Of an override, the suite itself, and of a URL that is a security archive the suite's security updates.
    """
    archive = ARCHIVES["debian"]
    if override:
        chosen = [_overriding(archive, url) for url in override.split()]
        pairs = [(entry, f"{suite}-security" if _is_security(archive, entry) else suite) for entry in chosen]
        return tuple((entry, name) for entry, name in pairs if name == suite or suite not in ROLLING)
    found = tuple(entries)
    debian = [entry for entry in found if _part(entry.uri, (archive.security, *archive.paths)) in archive.paths]
    main = next((entry for entry in debian if "main" in entry.components), None)
    if main is None:
        return ()
    if suite in ROLLING:
        return ((main, suite),)
    updates = any(name.endswith("-updates") for entry in debian for name in entry.suites)
    security = next((entry for entry in found if _is_security(archive, entry)), None)
    return (
        (main, suite),
        *([(main, f"{suite}-updates")] if updates else []),
        *([(security, f"{suite}-security")] if security else []),
    )


def ubuntu_sources(entries: Iterable[Entry], suite: str, override: str = "") -> tuple[tuple[Entry, str], ...]:
    """The suite with its updates and security updates, which every archive of Ubuntu has; the last perhaps apart."""
    archive = ARCHIVES["ubuntu"]
    found = [_overriding(archive, url) for url in override.split()] or [
        entry for entry in entries if _part(entry.uri, archive.paths) and "main" in entry.components
    ]
    if not found:
        return ()
    main = found[0]
    security = next((entry for entry in found if any(name.endswith("-security") for name in entry.suites)), main)
    return (main, suite), (main, f"{suite}-updates"), (security, f"{suite}-security")


def _overriding(archive: Archive, url: str) -> Entry:
    return Entry(url, (), archive.components, str(archive.keyring) if archive.keyring.exists() else "")


def _is_security(archive: Archive, entry: Entry) -> bool:
    return bool(_part(entry.uri, (archive.security,)))


def _part(uri: str, names: Iterable[str]) -> str:
    """The first of the names that is a part of the URL's path, or nothing."""
    parts = urlsplit(uri).path.split("/")
    return next((name for name in names if name in parts), "")


def read_entries(directory: Path = APT_DIRECTORY) -> tuple[Entry, ...]:
    """Every binary-package entry of apt's sources below `directory`, in apt's order. Unreadable files are skipped."""
    return entries_in(read_sources(directory))


def read_sources(directory: Path = APT_DIRECTORY) -> tuple[tuple[Path, str], ...]:
    """The texts of apt's sources below `directory`, in apt's order. Unreadable files are skipped."""
    texts = []
    parts = directory / "sources.list.d"
    for path in (directory / "sources.list", *(sorted(parts.iterdir()) if parts.is_dir() else ())):
        try:
            texts.append((path, path.read_text(errors="replace")))
        except OSError:
            continue
    return tuple(texts)


def entries_in(sources: Iterable[tuple[Path, str]]) -> tuple[Entry, ...]:
    """Every binary-package entry of these texts."""
    entries: list[Entry] = []
    for path, text in sources:
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
