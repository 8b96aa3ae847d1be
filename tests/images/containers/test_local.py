"""Images out of the store of this host's buildah and podman: one of the test's own."""

import os
import subprocess
import tarfile

import pytest

from sandboxfile.errors import BuildError
from sandboxfile.host.builders import ENGINES, local_image, local_image_id
from sandboxfile.images.config import ImageConfig
from sandboxfile.images.containers import engines, local
from sandboxfile.images.containers.oci import read_image
from sandboxfile.images.containers.packing import write_archive
from sandboxfile.model.template import Origin

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("own_store")]

NAME = "localhost/team/small:1"
CONFIG = ImageConfig(env=(("PATH", "/bin"),), user="agent", command=("sh",))


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def loaded(small_root, make_layer, tmp_path, own_store):
    """An image in the store, by the name above; gives its id."""
    upper = make_layer(**{"etc/.wh.theirs": b""})
    id = write_archive(tmp_path / "a.tar", [small_root, upper], CONFIG, NAME, epoch=0, format="docker")
    subprocess.run(["podman", "load", "-q", "-i", str(tmp_path / "a.tar")], check=True, capture_output=True)
    return id


async def fetch(work, name=NAME, digest="", report=print):
    return await local.fetch(Origin("local", name, digest=digest), work, epoch=0, report=report)


async def test_an_image_is_taken_out_with_its_layers_and_its_id(loaded, work):
    found = await fetch(work, digest=loaded)
    assert (found.digest, found.config) == (loaded, CONFIG)
    with tarfile.open(found.layers[0]) as lower, tarfile.open(found.layers[1]) as upper:
        assert lower.getmember("etc/theirs").uid == 1234
        assert [name for name in upper.getnames() if "theirs" in name] == ["etc/.wh.theirs"]


@pytest.mark.parametrize("engine", ["buildah", "podman"])
async def test_each_program_takes_out_the_same(engine, loaded, work):
    archive = await engines.save(engine, loaded, work, print)
    assert read_image(archive, work / "members").digest == loaded


@pytest.mark.parametrize("short", ["team/small:1", "localhost/team/small:1"])
async def test_an_image_is_found_by_the_names_that_its_store_knows(short, loaded):
    assert local_image_id(short) == loaded


async def test_an_image_is_found_by_its_id(loaded, work):
    assert (await fetch(work, loaded)).digest == loaded


async def test_an_image_that_is_not_there_is_said(work):
    assert await local.find("localhost/none:1") is None
    with pytest.raises(BuildError, match="no local image localhost/none:1") as caught:
        await fetch(work, "localhost/none:1")
    assert "podman image ls" in caught.value.hint


async def test_an_image_that_changed_since_it_was_pinned_is_refused(loaded, work):
    old = f"sha256:{'0' * 64}"
    with pytest.raises(BuildError, match=f"{NAME} was pinned to {old} and is now {loaded}"):
        await fetch(work, digest=old)


@pytest.fixture
def small_disk(work):
    """A directory with room for one megabyte."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "small", str(work)], check=True)
    yield work
    subprocess.run(["umount", str(work)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
async def test_a_full_disk_is_said(loaded, small_disk):
    with pytest.raises(BuildError, match="the disk is full"):
        await engines.save(local_image(NAME).engine, loaded, small_disk, print)


async def test_a_store_that_lost_its_image_is_said(work):
    for engine in ENGINES[:2]:
        with pytest.raises(BuildError, match=f"cannot take .* from {engine}"):
            await engines.save(engine, f"sha256:{'0' * 64}", work, print)
