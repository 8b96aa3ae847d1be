"""Images, layers and saved templates that exist on disk only, as the processes that `cli` starts find them."""

import gzip
import io
import os
import tarfile
import time

import anyio
import pytest

from sandboxfile.images import cache, saved, store
from sandboxfile.images.config import ImageConfig
from sandboxfile.images.layers import tars
from sandboxfile.images.layers.tree import Entry, content_digest, encode

MIB = 1 << 20


@pytest.fixture
def age(layout):
    """Make an entry of the cache look as if nothing had used it for some days."""

    def change(path, days):
        past = time.time() - days * 86400
        os.utime(path / cache.MANIFEST, (past, past))

    return change


@pytest.fixture
def make_layer(layout):
    """Put a layer into the cache; gives its directory. With `files` it is a tar of these: content by path."""

    def make(key, parent="", size=MIB, files=None):
        async def fill(work):
            if files is None:
                (work / store.TAR).write_bytes(b"x" * size)
            else:
                await tars.pack(tar_of(files, work / ".layer.tar"), work / store.TAR)
            usual = {"title": f"layer {key}", "parent": parent, "config": {}, "epoch": 0}
            return {**usual, "origin_digest": "", "versions": {}}

        path, _ = anyio.run(_build, layout.layers, key, fill)
        return path

    return make


@pytest.fixture
def make_image(layout):
    """Put an image into the cache. `files`: path and digest of what it holds."""

    def make(digest, *layers, files=(("etc/passwd", "0" * 64),), title="debian:trixie + git", **facts):
        tree = {path: Entry(path, "file", 0o644, size=7, digest=content) for path, content in files}

        async def fill(work):
            (work / store.DISK).write_bytes(b"x" * MIB)
            (work / store.TREE).write_bytes(gzip.compress(encode(tree)))
            usual = {
                "content": content_digest(tree),
                "title": title,
                "config": ImageConfig((("LANG", "C.UTF-8"),), "node", "/srv", ("serve",)).to_json(),
                "layers": list(layers),
                "builds": [store.find_layer(layout, key).build for key in layers],
                "sealed": 0.0,
                "epoch": 0,
                "origin_digest": "",
                "versions": {"apt": [["git", "1:2.47.3-0+deb13u1"]]},
                "template": "dev",
            }
            return usual | facts

        path, _ = anyio.run(_build, layout.images, digest, fill)
        return path

    return make


@pytest.fixture
def make_saved(layout, tmp_path):
    """Keep a saved template with one layer."""

    def make(tag, content=b"layer"):
        layer = tmp_path / f"{tag}.tar"
        layer.write_bytes(content)
        return saved.save_layers(layout, tag, [layer], ImageConfig(), {}, title="of shop/web")

    return make


def tar_of(files, path):
    """A tar of plain files."""
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


async def _build(root, digest, fill):
    return await cache.build(root, digest, fill, report=lambda message: None)
