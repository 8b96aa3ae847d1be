"""The platform's name follows its inputs, and only a whole one is found."""

import shutil

import pytest

from sandboxfile.host.layout import Layout
from sandboxfile.images import cache
from sandboxfile.images.boot import recipe
from sandboxfile.images.boot.platform import Platform, find_platform, platform_digest


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path / "state", tmp_path / "cache", tmp_path / "run")


def test_the_digest_changes_with_every_script(tmp_path, monkeypatch):
    copy = tmp_path / "rootfs"
    shutil.copytree(recipe.ROOTFS, copy)
    before = platform_digest()
    monkeypatch.setattr(recipe, "ROOTFS", copy)
    assert platform_digest() == before
    names = [path for path in copy.rglob("*") if path.is_file()]
    seen = {before}
    for path in names:
        path.write_text(path.read_text() + "# changed\n")
        seen.add(platform_digest())
    assert len(seen) == len(names) + 1


@pytest.mark.anyio
async def test_a_whole_platform_is_found_and_one_without_a_file_is_not(layout):
    async def make(work):
        for name in ("vmlinux", "initrd.cpio", "tools.erofs"):
            (work / name).write_text(name)
        return {"kernel": "6.1.0"}

    assert find_platform(layout) is None
    digest = platform_digest()
    directory, _ = await cache.build(layout.platforms, digest, make, report=print)
    files = [directory / name for name in ("vmlinux", "initrd.cpio", "tools.erofs")]
    assert find_platform(layout) == Platform(digest, *files, "6.1.0")
    files[2].unlink()
    assert find_platform(layout) is None
