"""Debian images: what is refused before anything is downloaded, and what is found."""

import pytest

from sandboxfile.errors import BuildError
from sandboxfile.host.layout import Layout
from sandboxfile.images import cache, debian
from sandboxfile.model.desired import ImageSpec


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path / "state", tmp_path / "cache", tmp_path / "run")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (ImageSpec("oci:debian", (), "d"), "cannot build 'oci:debian'"),
        (ImageSpec("debian:", (), "d"), "cannot build 'debian:'"),
        (ImageSpec("debian:--help", (), "d"), "cannot build"),
        (ImageSpec("debian:trixie", ("bash", "?essential"), "d"), "'\\?essential' is not the name"),
        (ImageSpec("debian:trixie", ("git,curl",), "d"), "'git,curl' is not the name"),
        (ImageSpec("debian:trixie", ("./local.deb",), "d"), "'./local.deb' is not the name"),
    ],
)
async def test_what_cannot_be_built_is_refused_before_anything_is_done(layout, spec, said):
    with pytest.raises(BuildError, match=said):
        await debian.build_image(layout, spec, print)
    assert not layout.images.exists()


@pytest.mark.anyio
async def test_a_built_image_is_found_and_listed_and_not_built_again(layout):
    async def make(work):
        (work / "rootfs.ext4").write_text("disk")
        return {}

    assert debian.find_image(layout, "d") is None
    assert debian.list_images(layout) == frozenset()
    directory, _ = await cache.build(layout.images, "d", make, report=print)
    assert debian.find_image(layout, "d") == directory / "rootfs.ext4"
    assert debian.list_images(layout) == {"d"}
    spec = ImageSpec("debian:trixie", ("bash",), "d")
    assert await debian.build_image(layout, spec, print) == directory / "rootfs.ext4"
