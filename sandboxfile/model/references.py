"""What a base of a template can name: distributions, images of registries and of this host, tars, saved templates.

Pure grammar. An image's name is read as Docker reads it (distribution/reference): `alpine` is the official image of
the default registry with the tag `latest`, and `registry.example.com/team/image:1` is what it says.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from sandboxfile.model.values import problem, without_control

# Suites by release, as people also call them.
DEBIAN_SUITES: Mapping[str, str] = {
    "bullseye": "11", "bookworm": "12", "trixie": "13", "forky": "14", "sid": "",
    "oldoldstable": "", "oldstable": "", "stable": "", "testing": "", "unstable": "",
}  # fmt: skip
UBUNTU_SUITES: Mapping[str, str] = {
    "focal": "20.04", "jammy": "22.04", "noble": "24.04", "plucky": "25.04", "questing": "25.10", "resolute": "26.04",
    "devel": "",
}  # fmt: skip
_SUITES: Mapping[str, Mapping[str, str]] = {"debian": DEBIAN_SUITES, "ubuntu": UBUNTU_SUITES}
BASE_KINDS = ("debian", "ubuntu", "oci", "docker", "tar", "saved")

_DEFAULT_REGISTRY = "docker.io"
_OFFICIAL = "library/"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_REGISTRY = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]{{1,5}})?\Z")
_PATH = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*\Z")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_IMAGE_ID = re.compile(r"(?:sha256:)?[0-9a-f]{64}\Z")
_NAME_LIMIT = 255
_TEXT_LIMIT = 512  # more than a name, a tag and a digest
# Of a saved template: also the name of its directory.
SAVED_TAG_PATTERN = r"[a-z0-9][a-z0-9._-]{0,63}(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,63})?"
_SAVED_TAG = re.compile(rf"{SAVED_TAG_PATTERN}\Z")


@dataclass(frozen=True, slots=True)
class ImageReference:
    """An image of a registry. `name` has the registry and the path; `tag` is empty only where there is a `digest`."""

    name: str
    tag: str = ""
    digest: str = ""

    @property
    def tagged(self) -> str:
        """Without the digest."""
        return f"{self.name}:{self.tag}" if self.tag else self.name

    def __str__(self) -> str:
        return f"{self.tagged}@{self.digest}" if self.digest else self.tagged


def parse_image_reference(text: str) -> ImageReference | None:
    """Read `[REGISTRY[:PORT]/]PATH[:TAG][@sha256:...]`; None when it is something else."""
    if len(text) > _TEXT_LIMIT:
        return None
    rest, at, digest = text.partition("@")
    name, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        name, colon, tag = rest, "", ""
    first, slash, path = name.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        registry, path = _DEFAULT_REGISTRY, name
    else:
        registry = first
    if registry == _DEFAULT_REGISTRY and "/" not in path:
        path = _OFFICIAL + path
    wrong = (
        not _REGISTRY.match(registry)
        or not _PATH.match(path)
        or len(registry) + len(path) + 1 > _NAME_LIMIT
        or (colon and not _TAG.match(tag))
        or (at and not _DIGEST.match(digest))
    )
    return None if wrong else ImageReference(f"{registry}/{path}", tag or ("" if digest else "latest"), digest)


def is_saved_tag(text: str) -> bool:
    """Whether a saved template can be called so: `NAME` or `NAME:TAG`."""
    return _SAVED_TAG.match(text) is not None


def check_base(text: str) -> str:
    """What `base` may be, in its one form (an image of a registry with registry and tag). Raises a `problem`.

    Text without a colon is the name of another template, which is checked where all names are known.
    """
    kind, colon, rest = text.partition(":")
    if not colon:
        return text
    if kind in _SUITES:
        return _suite(kind, rest)
    if kind == "oci":
        return f"oci:{_registry_image(rest)}"
    if kind == "docker":
        return f"docker:{_local_image(rest)}"
    if kind == "saved":
        return f"saved:{_saved(rest)}"
    if kind == "tar":
        return f"tar:{host_path(rest, 'Invalid base')}"
    close = difflib.get_close_matches(kind.lower(), BASE_KINDS, n=1)
    hint = f"did you mean `{close[0]}:{rest}`?" if close else f"an image of a registry is `oci:{text}`"
    raise problem("Unsupported base", f"`{text}` cannot be a base: nothing is called `{kind}:`.", hint)


def host_path(text: str, summary: str) -> str:
    """A path of this host as written: relative to the file, absolute, or beginning with `~/`."""
    if not text:
        raise problem(summary, "The path is empty.", "write a path relative to this file, or an absolute one")
    if "://" in text:
        raise problem(summary, f"`{text}` is a URL; nothing is fetched from there.", "write the path of a local copy")
    if text.startswith("~") and text != "~" and not text.startswith("~/"):
        raise problem(summary, f"`{text}`: another user's home cannot be named.", "write the path in full")
    return without_control("A path")(text)


def _suite(kind: str, suite: str) -> str:
    known = _SUITES[kind]
    if suite in known:
        return f"{kind}:{suite}"
    title = kind.capitalize()
    by_release = {release: name for name, release in known.items() if release}
    close = difflib.get_close_matches(suite.lower(), known, n=1)
    meant = by_release.get(suite) or (close[0] if close else None)
    hint = f"did you mean `{kind}:{meant}`?" if meant else f"the suites are {', '.join(known)}"
    raise problem("Unsupported base", f"`{suite}` is not a suite of {title} that this version knows.", hint)


def _registry_image(text: str) -> ImageReference:
    found = parse_image_reference(text)
    if found is not None:
        return found
    hint = "the form is [REGISTRY[:PORT]/]PATH[:TAG][@sha256:DIGEST], the path in lower case"
    if "://" in text:
        hint = f"write it without `{text.partition('://')[0]}://`"
    raise problem("Invalid image reference", f"`{text}` is not the name of an image in a registry.", hint)


def _local_image(text: str) -> str:
    if _IMAGE_ID.match(text) or parse_image_reference(text) is not None:
        return text
    hint = "write a name as `docker image ls` or `podman image ls` shows it, e.g. `docker:team/image:1`, or a whole id"
    raise problem("Invalid image reference", f"`{text}` is not the name of a local image.", hint)


def _saved(text: str) -> str:
    if is_saved_tag(text):
        return text
    rule = "lower-case letters, digits, `.`, `_` and `-`, then perhaps `:` and a tag"
    raise problem(
        "Invalid tag", f"`{text}` is not the tag of a saved template: {rule}.", "`sbx template ls` shows them"
    )
