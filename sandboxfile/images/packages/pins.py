"""Locked versions of Debian packages: what apt is told of them, and what a mirror lacks. Pure.

apt gets preferences, not more names to install: so it decides, orders and marks exactly as without a lock, and no
package that is not in the lock has a candidate. Before anything large is downloaded, a hook of mmdebstrap asks whether
the mirror has it all.
"""

import shlex
from collections.abc import Iterator
from pathlib import Path

from sandboxfile.model.template import Versions

MARK = "sbx-lock:"  # begins the lines of the hook that are for us
# Both below the image's root. The first is removed again, the second goes with the rest of its /tmp.
PREFERENCES = "/etc/apt/preferences.d/sandboxfile-lock"
PINS = "/tmp/sandboxfile-lock"  # noqa: S108 - not of this host
CHECK = r"""set -eu
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
cut -d' ' -f1 "$1@PINS@" | xargs apt-cache madison | awk -v mark=@MARK@ '
    FNR == NR { locked[$1] = $2; next }
    $3 == locked[$1] { there[$1] = 1 }
    !($1 in other) { other[$1] = $3 }
    END {
        for (name in locked) if (!(name in there)) { print mark, name, other[name]; failed = 1 }
        exit failed
    }' "$1@PINS@" -""".replace("@PINS@", PINS).replace("@MARK@", MARK)


def hooks(versions: Versions, work: Path) -> tuple[str, ...]:
    """Arguments for mmdebstrap that hold it to these versions, once it has the lists of packages.

    Writes two files into `work`, for it to read.
    """
    preferences, pins = work / ".preferences", work / ".pins"
    preferences.write_text(_preferences(versions))
    pins.write_text("".join(f"{name} {version}\n" for name, version in versions))
    return (
        f"--setup-hook=upload {shlex.quote(str(preferences))} {PREFERENCES}",
        f"--setup-hook=upload {shlex.quote(str(pins))} {PINS}",
        f"--setup-hook={CHECK}",
        f'--customize-hook=rm "$1{PREFERENCES}"',
    )


def lacking(output: str, versions: Versions) -> tuple[str, ...]:
    """What the hook found that the mirror does not have, in words; empty when that was not what failed."""
    locked = dict(versions)
    found = {}
    for line in output.splitlines():
        mark, _, rest = line.partition(" ")
        name, _, other = rest.partition(" ")
        if mark == MARK and name in locked:
            found[name] = other.strip()
    return tuple(_words(name, locked[name], found[name], "the mirror has") for name in sorted(found))


def differences(versions: Versions, installed: Versions) -> tuple[str, ...]:
    """How what is installed differs from what was locked, in words."""
    before, after = dict(versions), dict(installed)
    return tuple(
        _words(name, before.get(name, ""), after.get(name, ""), "installed is")
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    )


def _preferences(versions: Versions) -> str:
    """apt_preferences(5): a version of more than 1000 is taken even if it is older, one below 0 never is."""
    return "\n".join(_stanzas(versions))


def _stanzas(versions: Versions) -> Iterator[str]:
    yield "Package: *\nPin: release *\nPin-Priority: -1\n"
    for name, version in versions:
        yield f"Package: {name}\nPin: version {version}\nPin-Priority: 1001\n"


def _words(name: str, locked: str, other: str, what: str) -> str:
    return f"{name}: {f'locked {locked}' if locked else 'not locked'}, {what} {other or 'none'}"
