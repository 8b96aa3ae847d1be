"""The commands that package steps run inside a build machine, and what is read from them. Pure.

Each command line is a fixed script; names of packages are its arguments, never a part of it. Pins are constraints, not
other arguments, so that a pinned build leaves the same traces as the one that it repeats.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sandboxfile.errors import BuildError
from sandboxfile.model.packages import Manager, package_name
from sandboxfile.model.template import BuildStep, Versions

_MISSING = 69  # EX_UNAVAILABLE: the exit code when the image lacks the manager
_LIMIT = 100_000  # bytes of a command; a script and its arguments become one word of the guest's shell

_APT = f"""\
command -v apt-get >/dev/null || exit {_MISSING}
set -e
pins=/etc/apt/preferences.d/00sandboxfile
trap 'rm -f "$pins"' EXIT
mkdir -p /etc/apt/preferences.d
printf '%s' "$1" >"$pins"
shift
guard=/usr/sbin/policy-rc.d
if [ ! -e $guard ]; then # keeps what is installed from starting daemons
  trap 'rm -f "$pins" $guard' EXIT
  printf '#!/bin/sh\\nexit 101\\n' >$guard
  chmod 755 $guard
fi
apt-get update
apt-get install --yes --no-install-recommends "$@"
apt-get clean
rm -rf /var/lib/apt/lists/*
"""
_NPM = f"""\
command -v npm >/dev/null || exit {_MISSING}
exec npm install --global --no-audit --no-fund "$@"
"""
_PIP = f"""\
command -v python3 >/dev/null && python3 -m pip --version >/dev/null || exit {_MISSING}
pins=$(mktemp)
trap 'rm -f "$pins"' EXIT
printf '%s' "$1" >"$pins"
shift
python3 -m pip install --no-cache-dir --break-system-packages --root-user-action=ignore --disable-pip-version-check \\
  --progress-bar off -c "$pins" "$@"
"""
# Caches in /tmp, which gets into no layer.
_NPM_SETTINGS = (
    ("npm_config_cache", "/tmp/npm"),  # noqa: S108 - inside
    ("npm_config_update_notifier", "false"),
    ("npm_config_progress", "false"),
)
# An older pip takes an option that it does not know for a mistake, a variable not.
_ASK: Mapping[str, tuple[str, ...]] = {
    "apt": ("dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Package} ${Version}\\n"),
    "npm": (
        "env",
        *(f"{name}={value}" for name, value in _NPM_SETTINGS),
        "npm",
        "ls",
        "--global",
        "--json",
        "--depth=0",
    ),
    "pip": ("python3", "-m", "pip", "--disable-pip-version-check", "freeze", "--all"),
}
_LACKING: Mapping[str, tuple[str, str]] = {
    "apt": ("apt-get", "packages.apt needs a base of Debian or Ubuntu"),
    "npm": ("npm", "install it first: packages: {apt: [npm]}"),
    "pip": ("pip for python3", "install it first: packages: {apt: [python3-pip]}"),
}


@dataclass(frozen=True, slots=True)
class Installing:
    """A command that installs, and what makes it reproducible."""

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()


def installing(step: BuildStep) -> Installing:
    """What a step of packages runs. Raises BuildError when it is too long for one command."""
    match step.kind:
        case "apt":
            found = Installing(("/bin/sh", "-c", _APT, "apt", apt_pins(step.versions), *step.packages))
        case "npm":
            names = [_pinned_npm(package, dict(step.versions)) for package in step.packages]
            found = Installing(("/bin/sh", "-c", _NPM, "npm", *names), _NPM_SETTINGS)
        case _:
            pins = "".join(f"{name}=={version}\n" for name, version in step.versions)
            found = Installing(("/bin/sh", "-c", _PIP, "pip", pins, *step.packages))
    if sum(len(word.encode()) for word in found.argv) > _LIMIT:
        raise BuildError(
            f"there are too many packages in one list of {step.kind}", hint="split them over two templates"
        )
    return found


def apt_pins(versions: Versions) -> str:
    """apt_preferences(5) that hold packages to versions, above what any repository says."""
    return "".join(f"Package: {name}\nPin: version {version}\nPin-Priority: 1001\n\n" for name, version in versions)


def _pinned_npm(package: str, versions: Mapping[str, str]) -> str:
    name = package_name("npm", package)
    return f"{name}@{versions[name]}" if name in versions else package


def asking(kind: Manager) -> tuple[str, ...]:
    """What prints everything that a manager has installed."""
    return _ASK[kind]


def installed(kind: Manager, printed: str) -> Versions:
    """What that command printed, sorted by name. Raises BuildError when it is not what such a program prints."""
    try:
        return tuple(sorted(_READERS[kind](printed).items()))
    except (ValueError, AttributeError, TypeError, LookupError, RecursionError) as exc:
        raise BuildError(f"cannot tell what {kind} has installed: {exc}", output=printed[-2000:]) from exc


def _read_apt(printed: str) -> dict[str, str]:
    words = (line.split(" ") for line in printed.splitlines())
    return {name: version for status, name, version in words if status == "installed"}


def _read_npm(printed: str) -> dict[str, str]:
    found = json.loads(printed).get("dependencies", {})
    return {str(name): str(about["version"]) for name, about in found.items() if "version" in about}


def _read_pip(printed: str) -> dict[str, str]:
    """Those from elsewhere (`name @ file://…`, `-e …`) have no version to be pinned to."""
    pairs = (line.split("==") for line in printed.splitlines() if "==" in line and not line.startswith("#"))
    return {name: version for name, version in pairs}


_READERS = {"apt": _read_apt, "npm": _read_npm, "pip": _read_pip}


def lacking(kind: str, code: int) -> tuple[str, str] | None:
    """What the image lacks and what to do, when a step ended with `code` for that reason."""
    return _LACKING.get(kind) if code == _MISSING else None


def moved(wanted: Versions, there: Versions) -> Sequence[str]:
    """Which packages are not what they were pinned to, a line each."""
    found = dict(there)
    return [
        f"{name}: locked {version}, there is {found[name]}"
        for name, version in wanted
        if name in found and found[name] != version
    ]
