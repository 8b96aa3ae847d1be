"""What can go wrong with a build: each says what and where, leaves nothing half-done, and the next try works."""

import json
import subprocess
from pathlib import Path

import pytest

from ..images.registry import running_registry
from .roots import musl_root, pack

pytestmark = pytest.mark.vm


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    work = tmp_path_factory.mktemp("tiny")
    return pack(musl_root(work / "root"), work / "tiny.tar.gz")


@pytest.fixture
def own_cache(sbx, tmp_path):
    """A cache of this test alone, with the kernel in it and no image."""
    platforms = sbx.cache / "sandboxfile/platforms"
    sbx("template", "ls")
    sbx.cache = tmp_path / "cache"
    (sbx.cache / "sandboxfile").mkdir(parents=True, mode=0o700)
    if platforms.exists():
        subprocess.run(["cp", "-al", str(platforms), str(sbx.cache / "sandboxfile/platforms")], check=True)
    return sbx.cache / "sandboxfile"


def images(cache: Path) -> list[str]:
    """What is in the cache: whole images and half ones."""
    return sorted(path.name for path in cache.glob("images/*") if not path.name.startswith(".lock"))


def test_a_wrong_dockerfile_is_told_with_its_line(sbx, own_cache):
    (sbx.project / "Dockerfile").write_text("FROM scratch\nCOPPY a b\n")
    sbx.write("templates: {x: {build: .}}\nsandboxes: {box: {template: x}}\n")
    failed = sbx("up", "--yes", code=1)
    assert "COPPY" in failed.stderr
    assert images(own_cache) == []
    assert sbx("ls", "--format", "json").stdout.strip() in ("[]", "")


def test_a_failing_step_is_told_with_its_place_and_output(sbx, own_cache, tiny):
    (sbx.project / "tiny.tar.gz").write_bytes(tiny.read_bytes())
    text = (
        "templates:\n  x:\n    base: tar:./tiny.tar.gz\n    run:\n      - echo first >/first\n"
        "      - echo about to fail; echo oops >&2; exit {code}\nsandboxes: {{box: {{template: x}}}}\n"
    )
    sbx.write(text.format(code=3))
    failed = sbx("template", "build", "x", code=1)
    assert "oops" in failed.stderr
    assert "exit code 3" in failed.stderr
    assert "sandbox.yaml:6:" in failed.stderr
    assert images(own_cache) == []
    assert not sbx.processes("qemu")
    sbx.write(text.format(code=0))
    again = sbx("template", "build", "x")
    assert "echo first" not in again.stderr.replace("cached", ""), "the first step is done and is not done again"
    assert len(images(own_cache)) == 1


def test_a_registry_that_is_gone_and_a_digest_that_is_not_there(sbx, own_cache, tiny, tmp_path):
    with running_registry(tmp_path / "registry") as registry:
        sbx.write(f'templates: {{x: {{base: "oci:{registry}/none:1"}}}}\nsandboxes: {{box: {{template: x}}}}\n')
        assert "none" in sbx("template", "build", code=1).stderr
        digest = f"sha256:{'0' * 64}"
        sbx.write(f'templates: {{x: {{base: "oci:{registry}/none@{digest}"}}}}\nsandboxes: {{box: {{template: x}}}}\n')
        assert digest[:19] in sbx("template", "build", code=1).stderr
    gone = sbx("template", "build", code=1).stderr
    assert "registry" in gone
    assert "Traceback" not in gone
    assert images(own_cache) == []


def test_a_full_disk_leaves_no_half_image_and_the_next_try_works(sbx, own_cache, tiny):
    (sbx.project / "tiny.tar.gz").write_bytes(tiny.read_bytes())
    sbx.write("templates: {x: {base: tar:./tiny.tar.gz}}\nsandboxes: {box: {template: x}}\n")
    small = own_cache / "images"
    small.mkdir(mode=0o700, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "small", str(small)], check=True)
    try:
        failed = sbx("template", "build", code=1)
        assert "No space left" in failed.stderr or "disk is full" in failed.stderr
        assert images(own_cache) == []
        subprocess.run(["mount", "-o", "remount,size=1g", str(small)], check=True)
        sbx("template", "build")
        assert len(images(own_cache)) == 1
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_the_same_lock_gives_the_same_content_and_a_moved_base_is_refused(sbx, tmp_path, own_cache):
    first = own_cache
    (sbx.project / "motd").write_text("welcome\n")
    text = (
        "templates:\n  x:\n    base: debian:trixie\n    packages: {{apt: [{package}, curl]}}\n"
        "    files: [{{source: ./motd, target: /etc/motd}}]\n    run: ['echo made >/made']\n"
        "sandboxes: {{box: {{template: x}}}}\n"
    )
    sbx.write(text.format(package="jq"))
    sbx("template", "lock")
    locked = (sbx.project / "sandbox.lock").read_bytes()
    contents = [content(sbx)]
    sbx.cache = tmp_path / "second"
    (sbx.cache / "sandboxfile").mkdir(parents=True, mode=0o700)
    subprocess.run(["cp", "-al", str(first / "platforms"), str(sbx.cache / "sandboxfile/platforms")], check=True)
    sbx("template", "build", "--frozen")
    contents.append(content(sbx))
    assert contents[0] == contents[1]
    assert (sbx.project / "sandbox.lock").read_bytes() == locked

    (sbx.project / "motd").write_text("changed\n")
    sbx.write(text.format(package="ripgrep"))
    refused = sbx("up", "--frozen", "--yes", code=1).stderr
    assert "/etc/motd" in refused
    assert "ripgrep" in refused
    assert "sbx template lock" in refused


def content(sbx) -> str:
    (found,) = json.loads(sbx("template", "inspect", "x", "--format", "json").stdout)
    return found["content"]
