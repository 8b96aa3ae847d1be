"""Root file systems in tars of any compression, and images in tars."""

import bz2
import gzip
import hashlib
import lzma
import subprocess

import pytest

from sandboxfile.errors import BuildError
from sandboxfile.images.config import ImageConfig
from sandboxfile.images.containers import archive
from sandboxfile.images.containers.packing import write_archive
from sandboxfile.images.layers.tars import opened
from sandboxfile.model.template import Origin

pytestmark = pytest.mark.anyio

COMPRESSORS = {
    "none": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda data: subprocess.run(["zstd", "-qc"], input=data, capture_output=True, check=True).stdout,
}


async def fetch(path, work, digest=""):
    return await archive.fetch(Origin("tar", digest=digest, path=str(path)), work, epoch=0, report=print)


def digest_of(path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


@pytest.mark.parametrize("compression", COMPRESSORS)
async def test_a_root_of_any_compression_is_one_layer(compression, make_layer, tmp_path, work):
    layer = make_layer(**{"./": None, "./bin": None, "./bin/sh": b"shell"})
    path = tmp_path / "root"
    path.write_bytes(COMPRESSORS[compression](layer.read_bytes()))
    found = await fetch(path, work, digest_of(path))
    assert (found.config, found.digest) == (ImageConfig(), digest_of(path))
    (only,) = found.layers
    with opened(only) as stream:
        assert stream.read() == layer.read_bytes()


async def test_what_was_looked_at_is_what_is_used(make_layer, work):
    path = make_layer(**{"usr/bin/env": b"env"})
    before = path.read_bytes()
    found = await fetch(path, work)
    path.write_bytes(b"changed")
    assert found.layers[0].read_bytes() == before


async def test_a_tar_that_changed_since_it_was_pinned_is_refused(make_layer, work):
    path = make_layer(bin=None)
    old = f"sha256:{'0' * 64}"
    with pytest.raises(BuildError, match=f"{path} was pinned to {old} and is now {digest_of(path)}"):
        await fetch(path, work, old)


@pytest.mark.parametrize("format", ["oci", "docker"])
async def test_an_image_in_a_tar_is_that_image(format, make_layer, tmp_path, work):
    config = ImageConfig(user="agent", command=("sh",))
    path = tmp_path / "image.tar"
    layers = [make_layer(bin=None), make_layer(**{"bin/.wh.sh": b""})]
    write_archive(path, layers, config, "a:1", epoch=0, format=format)
    found = await fetch(path, work)
    assert (found.config, len(found.layers), found.digest) == (config, 2, digest_of(path))


async def test_a_directory_packed_from_without_is_explained(make_layer, work):
    path = make_layer(**{"rootfs": None, "rootfs/bin": None, "rootfs/bin/sh": b""})
    with pytest.raises(BuildError, match="neither a root file system") as caught:
        await fetch(path, work)
    assert "below rootfs/" in caught.value.hint


async def test_other_tars_are_refused(make_layer, work):
    with pytest.raises(BuildError, match="neither a root file system"):
        await fetch(make_layer(**{"src/main.c": b"", "README": b""}), work)


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda _: b"no tar at all" * 100, lambda _: b""]
)
async def test_a_damaged_tar_is_refused(damage, make_layer, work):
    path = make_layer(src=b"x" * 5000)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BuildError, match=str(path)):
        await fetch(path, work)


async def test_a_tar_that_is_not_there_is_said(tmp_path, work):
    with pytest.raises(BuildError, match=r"cannot read .*gone.tar: No such file"):
        await fetch(tmp_path / "gone.tar", work)
