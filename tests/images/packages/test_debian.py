"""Debian as an origin: what is refused before anything is downloaded, and what a build is held to."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from sandboxfile.errors import BuildError
from sandboxfile.images.config import ImageConfig
from sandboxfile.images.packages import debian, mmdebstrap
from sandboxfile.images.packages.debian import fetch, installed_versions
from sandboxfile.model.template import Origin

STATUS = """\
Package: apt
Status: install ok installed
Version: 3.0.3
Description: commandline package manager
 Status: not this one

Package: gone
Status: deinstall ok config-files
Version: 1.0

Package: half
Status: install reinstreq half-installed
Version: 2.0

Package: bash
Status: hold ok installed
Version: 5.2.37-2+b8
"""
INSTALLED = (("apt", "3.0.3"), ("bash", "5.2.37-2+b8"))


@pytest.fixture
def made(monkeypatch):
    """Calls of mmdebstrap, which is pretended: it installs what STATUS says, or fails with `output`."""

    class Made(list):
        output = ""

    calls = Made()

    async def choose_mode():
        return "root"

    async def make_tar(target, suite, packages, **options):
        calls.append((suite, list(packages), options))
        if calls.output:
            raise BuildError("it failed", output=calls.output)
        target.write_bytes(b"")
        (download,) = (hook for hook in options["hooks"] if hook.startswith("--customize-hook=download"))
        Path(shlex.split(download)[-1]).write_text(STATUS)

    monkeypatch.setattr(mmdebstrap, "choose_mode", choose_mode)
    monkeypatch.setattr(mmdebstrap, "make_tar", make_tar)
    return calls


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("origin", "said"),
    [
        (Origin("oci", "debian"), "neither a suite of Debian nor of Ubuntu"),
        (Origin("debian", ""), "'' is not the name of a suite"),
        (Origin("debian", "--help"), "'--help' is not the name of a suite"),
        (Origin("debian", "trixie", packages=("bash", "?essential")), r"'\?essential' is not the name"),
        (Origin("debian", "trixie", packages=("git,curl",)), "'git,curl' is not the name"),
        (Origin("debian", "trixie", packages=("./local.deb",)), r"'./local\.deb' is not the name"),
        (Origin("debian", "trixie", packages=("git-",)), "'git-' is not the name"),
        (Origin("debian", "trixie", packages=("git=",)), "'git=' is not the name"),
        (Origin("debian", "trixie", packages=("git=1,2",)), "'git=1,2' is not the name"),
        (Origin("debian", "trixie", versions=(("git", "*"),)), r"'git=\*' is not the name"),
        (Origin("debian", "trixie", versions=(("git", "1\n\nPackage: *"),)), "is not the name"),
        (Origin("ubuntu", "noble", versions=(("a\nPin: b", "1"),)), "is not the name"),
    ],
)
async def test_what_cannot_be_built_is_refused_before_anything_is_done(tmp_path, made, origin, said):
    with pytest.raises(BuildError, match=said):
        await fetch(origin, tmp_path, epoch=0, report=print)
    assert made == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.anyio
async def test_a_suite_is_one_layer_with_all_versions_and_no_configuration(tmp_path, made):
    fetched = await fetch(Origin("ubuntu", "noble", packages=("git", "curl=8.1")), tmp_path, epoch=9, report=print)
    (layer,) = fetched.layers
    assert layer.parent == tmp_path
    assert (fetched.config, fetched.digest, fetched.versions) == (ImageConfig(), "", INSTALLED)
    ((suite, packages, options),) = made
    assert (suite, packages) == ("noble", ["apt", "curl=8.1", "git", "mount"])
    assert (options["distribution"], options["epoch"], options["variant"]) == ("ubuntu", 9, "essential")


@pytest.mark.anyio
async def test_a_lock_changes_no_package_that_is_asked_for(tmp_path, made):
    """Else apt would order and mark them otherwise, and the content would be another."""
    await fetch(Origin("debian", "trixie", versions=INSTALLED), tmp_path, epoch=9, report=print)
    ((_, packages, options),) = made
    assert packages == ["apt", "mount"]
    assert any("preferences" in hook for hook in options["hooks"])


@pytest.mark.anyio
async def test_a_mirror_without_the_locked_versions_is_told_with_what_to_do(tmp_path, made):
    made.output = "Get:1 ...\nsbx-lock: apt 3.0.4\nsbx-lock: bash\nE: setup hook failed"
    with pytest.raises(BuildError) as caught:
        await fetch(Origin("debian", "trixie", versions=INSTALLED), tmp_path, epoch=9, report=print)
    assert caught.value.message == (
        "debian:trixie cannot be built as it was locked: apt: locked 3.0.3, the mirror has 3.0.4; "
        "bash: locked 5.2.37-2+b8, the mirror has none"
    )
    assert "sbx template lock --update NAME" in (caught.value.hint or "")
    assert "SBX_DEBIAN_MIRROR" in (caught.value.hint or "")


@pytest.mark.anyio
async def test_other_failures_of_a_locked_build_keep_their_own_words(tmp_path, made):
    made.output = "E: Unable to locate package x"
    with pytest.raises(BuildError, match="it failed"):
        await fetch(Origin("debian", "trixie", versions=INSTALLED), tmp_path, epoch=9, report=print)


@pytest.mark.anyio
async def test_what_came_out_otherwise_than_locked_is_refused(tmp_path, made):
    with pytest.raises(BuildError, match="bash: not locked, installed is 5"):
        await fetch(Origin("debian", "trixie", versions=INSTALLED[:1]), tmp_path, epoch=9, report=print)


def test_of_many_differences_some_are_told_and_the_others_counted():
    message = debian.not_as_locked("debian", "trixie", [f"p{number}" for number in range(30)]).message
    assert message.endswith("p19; and 10 more")


def test_only_what_is_installed_and_whole_counts():
    assert installed_versions(STATUS) == INSTALLED
    assert installed_versions("") == ()


def test_names_that_no_package_list_has_are_told_before_anything_is_downloaded(tmp_path):
    program = tmp_path / "apt-cache"
    program.write_text('#!/bin/sh\n[ "$*" = "--all-names pkgnames" ] && printf "curl\\nlibc6\\n"\n')
    program.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "MMDEBSTRAP_APT_CONFIG": "/apt.conf"}

    def check(included):
        command = ["sh", "-c", debian.NAMES, "exec", str(tmp_path)]
        variables = {**environment, "MMDEBSTRAP_INCLUDE": included}
        return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)

    assert check("curl=8.1,libc6").returncode == 0
    failed = check("curl,gitt=1,nodejss")
    assert failed.returncode == 1
    assert failed.stdout == "E: Unable to locate package gitt\nE: Unable to locate package nodejss\n"


def test_keys_and_caches_of_a_build_do_not_get_into_the_image(tmp_path):
    gone = (
        "etc/ssh/ssh_host_rsa_key",
        "etc/ssh/ssh_host_rsa_key.pub",
        "var/lib/systemd/random-seed",
        "var/lib/systemd/credential.secret",
        "var/cache/man/de/index.db",
        "var/cache/fontconfig/0.cache-9",
    )
    kept = ("etc/ssh/sshd_config", "etc/ssh/ssh_host_notes", "var/cache/man/CACHEDIR/sub/", "var/lib/systemd/catalog")
    for name in (*gone, *kept):
        path = tmp_path / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_text("x")
    subprocess.run(["sh", "-c", debian.CLEAN, "exec", str(tmp_path)], check=True)
    assert [name for name in gone if (tmp_path / name).exists()] == []
    assert [name for name in kept if not (tmp_path / name).exists()] == []
    bare = tmp_path / "bare"
    bare.mkdir()
    subprocess.run(["sh", "-c", debian.CLEAN, "exec", str(bare)], check=True)
