"""Locked versions of Debian packages: what apt gets, and what the hook says of a mirror; apt itself is pretended."""

import os
import subprocess

import pytest

from sandboxfile.images.packages import pins

LOCKED = (("curl", "8.14.1-2"), ("git", "1:2.47.3-0+deb13u1"), ("libc6", "2.41-12"))
MADISON = """\
      curl | 8.14.1-3 | http://mirror.example.com/debian trixie-updates/main amd64 Packages
      curl | 8.14.1-2 | http://mirror.example.com/debian trixie/main amd64 Packages
       git | 1:2.47.3-0+deb13u1 | http://mirror.example.com/debian trixie/main amd64 Packages
     libc6 | 2.41-12 | http://mirror.example.com/debian trixie/main amd64 Packages
"""


@pytest.fixture
def check(tmp_path):
    """Runs the hook as mmdebstrap does, with an apt that knows what `madison` says."""
    programs, root = tmp_path / "bin", tmp_path / "root"
    (root / "tmp").mkdir(parents=True)
    programs.mkdir()
    (programs / "apt-cache").write_text('#!/bin/sh\necho "$@ with $APT_CONFIG" >"$SAID"\ncat "$MADISON"\n')
    (programs / "apt-cache").chmod(0o755)
    said, known = tmp_path / "said", tmp_path / "known"

    def run(madison):
        known.write_text(madison)
        pins.hooks(LOCKED, tmp_path)
        (root / "tmp/sandboxfile-lock").write_bytes((tmp_path / ".pins").read_bytes())
        environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "MMDEBSTRAP_APT_CONFIG": "/apt.conf",
            "SAID": str(said),
            "MADISON": str(known),
        }
        done = subprocess.run(
            ["sh", "-c", pins.CHECK, "exec", str(root)], env=environment, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout, said.read_text()

    return run


def test_a_mirror_that_has_all_that_is_locked_passes(check):
    code, output, said = check(MADISON)
    assert (code, output) == (0, "")
    assert said == "madison curl git libc6 with /apt.conf\n"


def test_what_the_mirror_has_in_its_place_is_told_newest_first_and_all_at_once(check):
    code, output, _ = check(MADISON.replace("| 8.14.1-2 |", "| 8.14.1-1 |").replace("     libc6 |", "    libc99 |"))
    assert code == 1
    assert pins.lacking(f"I: something\n{output}E: setup hook failed", LOCKED) == (
        "curl: locked 8.14.1-2, the mirror has 8.14.1-3",
        "libc6: locked 2.41-12, the mirror has none",
    )


def test_other_failures_are_none_of_the_lock():
    assert pins.lacking("sbx-lock: unknown 1\nE: something else", LOCKED) == ()
    assert pins.lacking("", ()) == ()


def test_apt_may_take_locked_versions_and_nothing_else(tmp_path):
    pins.hooks(LOCKED[:1], tmp_path)
    assert (tmp_path / ".preferences").read_text().split("\n\n") == [
        "Package: *\nPin: release *\nPin-Priority: -1",
        "Package: curl\nPin: version 8.14.1-2\nPin-Priority: 1001\n",
    ]


def test_the_image_keeps_nothing_of_the_preferences(tmp_path):
    *setup, last = pins.hooks(LOCKED, tmp_path)
    assert all(hook.startswith("--setup-hook=") for hook in setup)
    assert last == '--customize-hook=rm "$1/etc/apt/preferences.d/sandboxfile-lock"'


def test_what_is_installed_is_compared_package_by_package():
    installed = (("curl", "8.14.1-3"), ("git", "1:2.47.3-0+deb13u1"), ("wget", "1.25"))
    assert pins.differences(LOCKED, installed) == (
        "curl: locked 8.14.1-2, installed is 8.14.1-3",
        "libc6: locked 2.41-12, installed is none",
        "wget: not locked, installed is 1.25",
    )
    assert pins.differences(LOCKED, LOCKED) == ()
