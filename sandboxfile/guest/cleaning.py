"""What a boot writes into a template's root (rootfs/init, network, trust), and how to take it out again. Pure.

So no machine's name, identity, proxy or certificate authority gets into an image, and two builds give the same content.
With it goes what no build can make twice the same and nobody reads in an image: logs of package managers, caches of
addresses, temporary files. And Docker's own store, whose layers do not survive being copied file by file.
"""

import json
import re
from typing import Any

from sandboxfile.guest.config import MARK
from sandboxfile.guest.network import BUNDLE, CERTIFICATE, GATEWAY_ADDRESS, GATEWAY_NAME

_DROPPED = frozenset(
    {
        *("etc/hostname", "etc/resolv.conf", "etc/machine-id", "var/lib/dbus/machine-id", "lost+found"),
        *("etc/profile.d/sandboxfile.sh", "etc/apt/apt.conf.d/90sandboxfile", "etc/sudoers.d/sbx-environment"),
        *("etc/ssl/certs/sandboxfile.pem", "etc/pki/ca-trust/source/anchors/sandboxfile.crt", CERTIFICATE.lstrip("/")),
        *("var/cache/ldconfig/aux-cache", "var/log/dpkg.log", "var/log/alternatives.log"),
        *("var/log/dockerd.log", "var/log/dockerd.log.1"),
        *("var/cache/apt/pkgcache.bin", "var/cache/apt/srcpkgcache.bin"),
    }
)
_EMPTIED = (
    "proc/",
    "sys/",
    "dev/",
    "run/",
    "tmp/",
    "var/tmp/",
    "var/log/apt/",
    "var/lib/docker/",
    "var/lib/containerd/",
)
_DOCKER = ("etc/docker/daemon.json", "home/agent/.docker/config.json", "root/.docker/config.json")
_BUNDLES = (BUNDLE.lstrip("/"), "etc/ssl/cert.pem", "etc/pki/tls/certs/ca-bundle.crt", "etc/ssl/ca-bundle.pem")
_HOSTS, _ENVIRONMENT = "etc/hosts", "etc/environment"
CLEANED = (_HOSTS, _ENVIRONMENT, *_BUNDLES, *_DOCKER)
CLEANED_LIMIT = 16 << 20  # bytes of one of these files

_HASHED = re.compile(r"etc/ssl/certs/[0-9a-f]{8}\.[0-9]+\Z")
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----\s*([A-Za-z0-9+/=\s]+?)\s*-----END CERTIFICATE-----[^\n]*\n?")
_MARKED = re.compile(rb"^" + MARK.encode() + rb" [^\n]*\n(" + _CERTIFICATE.pattern + rb")?", re.MULTILINE)
_BEGIN, _END = b"# begin of sandboxfile ", b"# end of sandboxfile"


def is_dropped(path: str) -> bool:
    """Whether a path never gets into an image."""
    return path in _DROPPED or path.startswith(_EMPTIED)


def is_link_to_authority(path: str, link: str) -> bool:
    """Whether OpenSSL finds the sandbox's own authority by it."""
    return _HASHED.match(path) is not None and link.rpartition("/")[2] in ("sandboxfile.pem", "sandboxfile.crt")


def cleaned(path: str, content: bytes, authority: str) -> bytes:
    """A file of CLEANED without what a boot wrote into it: nothing, if that was all.

    `authority` is the sandbox's certificate, PEM. A file that is not what it should be stays as it is.
    """
    if path == _HOSTS:
        return _hosts(content)
    if path == _ENVIRONMENT:
        return _environment(content)
    if path in _DOCKER:
        return _docker(content)
    return _bundle(content, authority.encode())


def _hosts(content: bytes) -> bytes:
    ours = re.compile(rb"127\.0\.1\.1\s.*|.*\s" + re.escape(GATEWAY_NAME.encode()) + rb"\s*")
    return b"".join(line for line in content.splitlines(keepends=True) if not ours.fullmatch(line.rstrip(b"\n")))


def _environment(content: bytes) -> bytes:
    """Without the blocks between our marks; a mark that is never closed was written by somebody else."""
    kept, held = bytearray(), bytearray()
    for line in content.splitlines(keepends=True):
        if line.startswith(_BEGIN):
            kept += held
            held = bytearray(line)
        elif line.rstrip(b"\n") == _END and held:
            held.clear()
        elif held:
            held += line
        else:
            kept += line
    return bytes(kept + held)


def _bundle(content: bytes, authority: bytes) -> bytes:
    """Without certificates of ours: by the comment that names them, and by what it is, for programs drop comments."""
    ours = {_body(match) for match in _CERTIFICATE.finditer(authority)}
    unmarked = _MARKED.sub(b"", content)
    return _CERTIFICATE.sub(lambda match: b"" if _body(match) in ours else match[0], unmarked)


def _body(match: re.Match[bytes]) -> bytes:
    return b"".join(match[1].split())


def _docker(content: bytes) -> bytes:
    """Without the proxies of ours; what else somebody has set stays."""
    try:
        settings = json.loads(content)
    except (ValueError, RecursionError):
        return content
    if not isinstance(settings, dict) or not _is_our_proxy(settings.get("proxies")):
        return content
    rest = {name: value for name, value in settings.items() if name != "proxies"}
    return (json.dumps(rest, indent="\t") + "\n").encode() if rest else b""


def _is_our_proxy(value: Any) -> bool:
    return GATEWAY_ADDRESS in json.dumps(value)
