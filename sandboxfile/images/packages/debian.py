"""Debian and Ubuntu suites as origins: packages by mmdebstrap, on this host and without a machine, into one tar.

The same packages in the same versions give the same content, whoever builds and when: what a build leaves that is of
its moment (times in databases, caches, keys) is removed, and `epoch` stands for the time. Not so what a few packages
draw by lot and cannot do without: a certificate of their own (ssl-cert), a database cluster (postgresql), Java's keys.
"""

import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import anyio

from sandboxfile.errors import BuildError
from sandboxfile.images.config import Fetched, ImageConfig
from sandboxfile.images.packages import mmdebstrap, pins
from sandboxfile.images.packages.sources import ARCHIVES, Distribution
from sandboxfile.model.template import Origin, Versions

# What a sandbox cannot do without, whatever its template names: apt, and `mount`, which is not essential in Debian.
ALWAYS = ("apt", "mount")
# dpkg need not wait for the disk after each file: if the machine fails, there is no image.
QUICK = (
    '--setup-hook=echo force-unsafe-io >"$1/etc/dpkg/dpkg.cfg.d/sandboxfile"',
    '--customize-hook=rm "$1/etc/dpkg/dpkg.cfg.d/sandboxfile"',
)
# mmdebstrap then need not do it. Else it would be minutes until somebody learns of a name that does not exist.
UPDATE = 'export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"; apt-get update --error-on=any'
NAMES = r"""export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
apt-cache --all-names pkgnames | awk -v included="$MMDEBSTRAP_INCLUDE" '
    { known[$1] = 1 }
    END {
        count = split(included, names, ",")
        for (number = 1; number <= count; number++) {
            sub(/[=:].*/, "", names[number])
            if (!(names[number] in known)) { print "E: Unable to locate package " names[number]; failed = 1 }
        }
        exit failed
    }'"""
# Versions that are locked are checked against a signed list all the same: that it is old does no harm, and lists of a
# snapshot always are.
OLD_LISTS = " --option Acquire::Check-Valid-Until=false"
# What no two images may share, and caches that hold the moment of their making; whoever needs one makes it again.
CLEAN = r"""set -eu
cd "$1"
rm -f etc/ssh/ssh_host_*_key etc/ssh/ssh_host_*_key.pub var/lib/systemd/random-seed var/lib/systemd/credential.secret
for cache in var/cache/man var/cache/fontconfig; do
    [ ! -d $cache ] || find $cache -type f -delete
done"""
STATUS = "/var/lib/dpkg/status"
SHOWN = 20  # packages told of; the others are counted
_SUITE = re.compile(r"[a-z0-9][a-z0-9.+-]*")
# apt would read more into other names: patterns, files, `-` for removal.
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]*[a-z0-9+.]")
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+:~-]*")


async def fetch(origin: Origin, work: Path, *, epoch: int, report: Callable[[str], None]) -> Fetched:
    """Install the origin's packages into a tar in `work`: about half a minute for few.

    `Fetched.versions` is everything that is installed; with `origin.versions` exactly that. Raises BuildError, naming
    the suite, the package, or the locked versions that the mirror does not have.
    """
    if origin.kind != "debian" and origin.kind != "ubuntu":
        raise BuildError(f"{origin.kind}:{origin.reference} is neither a suite of Debian nor of Ubuntu")
    check_names(origin)
    tar, status = work / ".root.tar", work / ".status"
    try:
        await mmdebstrap.make_tar(
            tar,
            origin.reference,
            sorted({*ALWAYS, *origin.packages}),
            variant="essential",
            mode=await mmdebstrap.choose_mode(),
            report=report,
            distribution=origin.kind,
            hooks=[*_hooks(origin, work), f"--customize-hook=download {STATUS} {shlex.quote(str(status))}"],
            epoch=epoch,
        )
    except BuildError as exc:
        for script in (NAMES, CLEAN, pins.CHECK):  # which mmdebstrap repeats
            exc.output = exc.output.replace(script, "...")
        if lacking := pins.lacking(exc.output, origin.versions):
            raise not_as_locked(origin.kind, origin.reference, lacking) from exc
        raise
    installed = installed_versions(await anyio.Path(status).read_text())
    if origin.versions and (found := pins.differences(origin.versions, installed)):
        raise not_as_locked(origin.kind, origin.reference, found)
    return Fetched((tar,), ImageConfig(), "", installed)


def _hooks(origin: Origin, work: Path) -> Iterator[str]:
    yield from QUICK
    yield f"--setup-hook={UPDATE}{OLD_LISTS if origin.versions else ''}"
    if origin.versions:
        yield from pins.hooks(origin.versions, work)
    yield f"--setup-hook={NAMES}"
    yield f"--customize-hook={CLEAN}"


def check_names(origin: Origin) -> None:
    """Raise BuildError unless suite, packages and versions are what they claim to be, to apt as well."""
    if not _SUITE.fullmatch(origin.reference):
        raise BuildError(f"{origin.reference!r} is not the name of a suite")
    for written in (*origin.packages, *(f"{name}={version}" for name, version in origin.versions)):
        name, equals, version = written.partition("=")
        if not _NAME.fullmatch(name) or (equals and not _VERSION.fullmatch(version)):
            raise BuildError(f"{written!r} is not the name of a Debian package")


def installed_versions(status: str) -> Versions:
    """Packages that are installed and whole, with their versions, by the text of dpkg's status file."""
    found = {}
    for stanza in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Status", "").endswith(" ok installed"):
            found[fields["Package"]] = fields["Version"]
    return tuple(sorted(found.items()))


def not_as_locked(distribution: Distribution, suite: str, differences: Iterable[str]) -> BuildError:
    """The error that lists what is not as sandbox.lock has it."""
    found = list(differences)
    lines = found[:SHOWN] + ([f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else [])
    override = ARCHIVES[distribution].override
    again = "sbx template lock --update NAME"
    return BuildError(
        f"{distribution}:{suite} cannot be built as it was locked: {'; '.join(lines)}",
        hint=f"lock it again (`{again}`), or set {override} to a mirror that still has these",
    )
