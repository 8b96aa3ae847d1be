"""Images of registries, by skopeo: the only door to both. What is recorded as pulled is what was pulled, by digest.

Who may pull, which authorities and mirrors are trusted, and which proxy leads out is what this host's ordinary clients
are set up for (auth.json and config.json, certs.d, registries.conf, the proxy variables): skopeo reads all of that.
Certificates are always checked. Plain HTTP is tried with registries on this host's loopback only.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from time import monotonic
from typing import Any

from sandboxfile.errors import BuildError
from sandboxfile.images import config
from sandboxfile.images.config import Fetched
from sandboxfile.images.containers import layouts, members, oci, registry_errors
from sandboxfile.images.containers.children import Ended, run_tied
from sandboxfile.images.containers.growth import amount, watched
from sandboxfile.images.packages.mmdebstrap import environment
from sandboxfile.model.references import ImageReference, parse_image_reference
from sandboxfile.model.template import Origin

POLICY_FILES = (Path("~/.config/containers/policy.json"), Path("/etc/containers/policy.json"))
ANSWER_SECONDS = 60  # for a manifest
STALL_SECONDS = 120.0  # without a byte of a layer
SURPLUS = 64 << 20  # bytes that may come beyond what the manifest says, before it is a lie
INSTALL = "install skopeo (Debian: apt install skopeo)"
type Report = Callable[[str], None]


async def fetch(origin: Origin, work: Path, *, epoch: int, report: Report) -> Fetched:  # noqa: ARG001 - as all origins
    """Pull the image that the origin names and pins, or what its tag stands for now. Raises BuildError."""
    digest = origin.digest or await resolve(origin.reference)
    layout = await pull(origin.reference, digest, work, report)
    report("checking the layers")
    return replace(await oci.read(layout, work / "members"), digest=digest)


async def resolve(reference: str) -> str:
    """`sha256:…` of the index or manifest that the registry has under this name. Raises BuildError, with the reason."""
    wanted = _parsed(reference)
    return _digest(await _inspect(wanted))


async def pull(reference: str, digest: str, work: Path, report: Report) -> Path:
    """Pull what has this digest, for this machine, into an OCI layout below `work`. Raises BuildError."""
    wanted = _parsed(reference)
    pinned = ImageReference(wanted.name, digest=digest)
    report(f"asking {registry_errors.registry_of(wanted)} for {wanted}")
    try:
        manifest = await _inspect(pinned)
    except BuildError as exc:
        if isinstance(exc, registry_errors.UnknownImageError) and wanted.tag:
            raise await _moved(wanted, digest, exc) from exc
        raise
    if _digest(manifest) != digest:
        raise BuildError(f"{wanted} was pinned to {digest} and is now {_digest(manifest)}")
    sizes = await _layer_sizes(wanted, manifest)
    layout = work / "image"
    await _copy(pinned, layout, sizes, report)
    return layout


async def _moved(wanted: ImageReference, digest: str, error: BuildError) -> BuildError:
    """What to say when the registry no longer has what was pinned."""
    try:
        now = await resolve(wanted.tagged)
    except BuildError:
        return error
    return BuildError(
        f"{wanted.tagged} was pinned to {digest}, which the registry no longer has; the tag is now {now}",
        hint="`sbx template lock --update` takes what is there now",
        command=error.command,
        output=error.output,
    )


async def _inspect(wanted: ImageReference) -> bytes:
    arguments = ("inspect", "--raw", f"docker://{wanted}")
    return (await _skopeo(arguments, wanted, insecure="--tls-verify=false", seconds=ANSWER_SECONDS)).output


async def _layer_sizes(wanted: ImageReference, raw: bytes) -> list[int]:
    """Bytes of each layer of the image for this machine. Raises BuildError when there is none."""
    manifest = _manifest(wanted, raw)
    for _ in range(layouts.NESTING):
        if "manifests" not in manifest:
            break
        digest = layouts.choose_digest(str(wanted), manifest)
        manifest = _manifest(wanted, await _inspect(ImageReference(wanted.name, digest=digest)))
    sizes = [members.as_object(item, str(wanted)).get("size") for item in members.as_list(manifest.get("layers"))]
    if manifest.get("schemaVersion") != 2 or not all(type(size) is int and size >= 0 for size in sizes):
        raise BuildError(f"{wanted} is no image that can be used: its manifest is of an unknown or outdated kind")
    return [size for size in sizes if isinstance(size, int)]


def _manifest(wanted: ImageReference, raw: bytes) -> Mapping[str, Any]:
    try:
        return members.as_object(json.loads(raw), str(wanted))
    except (ValueError, RecursionError) as exc:
        raise BuildError(f"the registry's manifest of {wanted} is not JSON") from exc


async def _copy(pinned: ImageReference, layout: Path, sizes: list[int], report: Report) -> None:
    total = sum(sizes)
    free = shutil.disk_usage(layout.parent).free
    if total > free:
        raise BuildError(
            f"cannot pull {pinned.name}: it is {amount(total)}, and {amount(free)} are free",
            hint=f"make room in {layout.parent}",
        )
    said = f"{len(sizes)} layers" if len(sizes) != 1 else "1 layer"
    report(f"pulling {said}, {amount(total)}")
    machine = ("--override-os", "linux", "--override-arch", config.architecture())
    arguments = (*machine, "copy", "--retry-times", "2", f"docker://{pinned}", f"oci:{layout}:latest")
    async with watched(layout, _Watcher(pinned, said, total, report)):
        await _skopeo(arguments, pinned, insecure="--src-tls-verify=false")


class _Watcher:
    """Tells how far a pull has come. Raises BuildError when it stands still, or brings more than was said."""

    def __init__(self, pinned: ImageReference, said: str, total: int, report: Report) -> None:
        self._pinned, self._said, self._total, self._report = pinned, said, total, report
        self._size, self._since = 0, monotonic()

    def __call__(self, size: int) -> None:
        now = monotonic()
        if size > self._total + SURPLUS:
            raise BuildError(
                f"the registry sends more for {self._pinned.name} than the {amount(self._total)} it announced"
            )
        if size != self._size:
            self._size, self._since = size, now
            self._report(f"pulling {self._said}, {amount(min(size, self._total))} of {amount(self._total)}")
        elif now - self._since > STALL_SECONDS:
            hint = "check the network, then try again"
            raise BuildError(f"the pull of {self._pinned.name} stands still since {STALL_SECONDS:.0f} s", hint=hint)


async def _skopeo(
    arguments: tuple[str, ...], wanted: ImageReference, *, insecure: str, seconds: int | None = None
) -> Ended:
    """Run skopeo; once more without TLS when a registry of this host has none. Raises BuildError, with the reason."""
    program = ["skopeo", *([] if _has_policy() else ["--insecure-policy"])]
    limit = [f"--command-timeout={seconds}s"] if seconds is not None else []
    command = [*program, *limit, *arguments]
    ended = await run_tied(command, env=environment(), hint=INSTALL)
    if ended.code != 0 and registry_errors.PLAIN_HTTP in ended.said and is_loopback(wanted):
        command.append(insecure)
        ended = await run_tied(command, env=environment(), hint=INSTALL)
    if ended.code != 0:
        raise registry_errors.explain(wanted, command, ended.said)
    return ended


def is_loopback(wanted: ImageReference) -> bool:
    """Whether its registry is on this host, by a name or address that cannot lead elsewhere."""
    host = registry_errors.registry_of(wanted)
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _has_policy() -> bool:
    """Whether this host says whose signatures it wants; where nobody says so, skopeo would refuse everything."""
    return any(path.expanduser().exists() for path in POLICY_FILES)


def _parsed(reference: str) -> ImageReference:
    if found := parse_image_reference(reference):
        return found
    raise BuildError(f"{reference!r} is not the name of an image in a registry")


def _digest(manifest: bytes) -> str:
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"
