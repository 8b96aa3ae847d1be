"""What skopeo says when it fails, in words that say what to do. Pure."""

import re
from collections.abc import Sequence

from sandboxfile.errors import BuildError
from sandboxfile.images.containers.children import FULL
from sandboxfile.model.references import ImageReference

PLAIN_HTTP = "server gave HTTP response to HTTPS client"
CERTIFICATE = re.compile(r"x509:|tls: |certificate")
DENIED = re.compile(r"unauthorized|authentication required|access to the resource is denied|\b(401|403)\b|[Ff]orbidden")
UNKNOWN = re.compile(r"(manifest|name|repository name|blob) unknown|not known to registry|\bnot found\b|\b404\b")
OTHER_MACHINE = re.compile(r"no image found in (manifest list|image index)")
BUSY = re.compile(r"toomanyrequests|too many requests|\b429\b", re.IGNORECASE)
UNREACHABLE = re.compile(
    r"no such host|connection (refused|reset|timed out)|i/o timeout|[Tt]imeout|unreachable|no route to host"
    r"|deadline exceeded|unexpected EOF|: EOF|server misbehaving|temporary failure|\b50[0234]\b"
)
MESSAGE = re.compile(r'level=(?:fatal|error) msg="((?:[^"\\]|\\.)*)"')


class UnknownImageError(BuildError):
    """The registry answers, and has no such image."""


def registry_of(wanted: ImageReference) -> str:
    """Host and perhaps port of the registry."""
    return wanted.name.partition("/")[0]


def explain(wanted: ImageReference, command: Sequence[str], said: str) -> BuildError:
    """The failure of skopeo, asked for `wanted`, with its cause as the message."""
    registry = registry_of(wanted)
    unreachable = "check the name, the network and, behind a proxy, HTTPS_PROXY and NO_PROXY; then try again"
    authority = f"put the certificate of its authority into /etc/containers/certs.d/{registry}/ca.crt"
    secure = f"give it a certificate; or, to trust everyone between here and there, set insecure for {registry}"
    causes: tuple[tuple[re.Pattern[str], type[BuildError], str, str | None], ...] = (
        (FULL, BuildError, f"cannot pull {wanted}: the disk is full", "make room in the cache"),
        (
            re.compile(PLAIN_HTTP),
            BuildError,
            f"the registry {registry} speaks plain HTTP",
            f"{secure} in registries.conf",
        ),
        (OTHER_MACHINE, BuildError, f"{wanted} has no image for this machine's architecture", None),
        (
            BUSY,
            BuildError,
            f"the registry {registry} wants fewer requests from here",
            "log in to it, or try again later",
        ),
        (
            DENIED,
            BuildError,
            f"the registry {registry} does not give {wanted} to this user",
            f"log in with `skopeo login {registry}` or `docker login {registry}`; and check the name: many registries"
            " answer so for what they do not have",
        ),
        (CERTIFICATE, BuildError, f"the certificate of the registry {registry} is not one to trust", authority),
        (UNKNOWN, UnknownImageError, f"the registry {registry} has no image {wanted}", "check its name and tag"),
        (UNREACHABLE, BuildError, f"the registry {registry} cannot be reached", unreachable),
    )
    said = _message(said)
    for pattern, kind, message, hint in causes:
        if pattern.search(said):
            return kind(message, hint=hint, command=command, output=said)
    return BuildError(f"cannot pull {wanted}: skopeo failed", command=command, output=said)


def _message(said: str) -> str:
    """The last thing that skopeo logged, or all that it said."""
    found = MESSAGE.findall(said)
    return found[-1].replace('\\"', '"') if found else said
