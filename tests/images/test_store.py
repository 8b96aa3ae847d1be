"""Images and layers in the cache: found, named, and of use only upon each other."""

import os

import anyio
import pytest

from sandboxfile.host.layout import Layout
from sandboxfile.images import cache, store
from sandboxfile.images.config import ImageConfig
from sandboxfile.images.origins import layer_facts, origin_title
from sandboxfile.model.template import BuildStep, Origin, PlacedFile, Recipe

ORIGIN = Origin("debian", "trixie", packages=("git",))
STEPS = (BuildStep("npm", ("typescript",)), BuildStep("run", command=("make",)))
RECIPE = Recipe(ORIGIN, STEPS, 5, "d" * 64)


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path / "state", tmp_path / "cache", tmp_path / "run")


def keep(layout, key, **facts):
    """Put a layer into the cache."""

    async def make(work):
        (work / store.TAR).write_bytes(b"tar")
        return layer_facts("a title", {"Env": ["A=1"]}, **facts)

    anyio.run(lambda: cache.build(layout.layers, key, make, report=print, accept=lambda _: False))
    return store.find_layer(layout, key)


def keep_image(layout, digest, **facts):
    async def make(work):
        (work / store.DISK).write_bytes(b"disk")
        (work / store.TREE).write_bytes(b"tree")
        return {
            "content": f"sha256:{digest}", "title": "t", "config": {}, "layers": ["k"], "builds": ["b"], "sealed": 1.5,
            "epoch": 5, "origin_digest": "", "versions": {"apt": [["git", "2"]]}, "template": "dev",
        } | facts  # fmt: skip

    anyio.run(lambda: cache.build(layout.images, digest, make, report=print))


def test_each_layer_is_named_by_all_that_is_beneath_it():
    keys = store.layer_keys(RECIPE)
    assert len(set(keys)) == 3
    assert keys[0] == store.layer_key(None, ORIGIN, 5)
    assert keys[1] == store.layer_key(keys[0], STEPS[0])
    assert store.layer_keys(Recipe(ORIGIN, STEPS[:1], 5)) == keys[:2]
    assert store.layer_keys(Recipe(ORIGIN, STEPS, 6))[2] != keys[2]
    assert store.layer_keys(Recipe(ORIGIN, STEPS[::-1], 5))[1:] != keys[1:]


def test_where_things_stand_is_no_part_of_a_name():
    def key(source, place):
        step = BuildStep("files", files=(PlacedFile("/a", 0o644, "sha256:1", source),), place=place)
        return store.layer_key("parent", step)

    assert key("/one", "a:1:1") == key("/two", "b:2:2")


def test_a_layer_is_found_with_what_it_says(layout):
    keep(layout, "k" * 64, versions={"npm": (("a", "1"),)}, origin_digest="sha256:1", epoch=7)
    layer = store.find_layer(layout, "k" * 64)
    assert (layer.title, layer.config, layer.digest) == ("a title", ImageConfig((("A", "1"),)), "sha256:1")
    assert (layer.versions, layer.epoch) == ({"npm": (("a", "1"),)}, 7)
    assert layer.tar.read_bytes() == b"tar"
    assert store.layers(layout) == [layer]


def test_a_chain_ends_where_a_layer_stands_on_another_build_of_the_one_beneath(layout):
    first = keep(layout, "a")
    second = keep(layout, "b", parent=first.build)
    third = keep(layout, "c", parent=second.build)
    keys = ("a", "b", "c", "missing")
    assert store.find_chain(layout, keys) == (first, second, third)
    again = keep(layout, "b", parent=first.build)
    assert again.build != second.build
    assert store.find_chain(layout, keys) == (first, again)
    assert store.find_chain(layout, ("b",)) == ()


def test_a_chain_can_be_asked_for_the_very_builds_of_an_image(layout):
    first = keep(layout, "a")
    assert store.find_chain(layout, ("a",), (first.build,)) == (first,)
    assert store.find_chain(layout, ("a",), ("another",)) == ()


def test_an_image_is_found_with_what_it_says(layout):
    keep_image(layout, "e" * 64)
    image = store.find_image(layout, "e" * 64)
    assert (image.content, image.sealed, image.epoch) == (f"sha256:{'e' * 64}", 1.5, 5)
    assert image.versions == {"apt": (("git", "2"),)}
    assert (image.disk.read_bytes(), image.tree.read_bytes()) == (b"disk", b"tree")
    assert store.list_images(layout) == {"e" * 64: image.content}
    assert store.images(layout) == [image]


def test_the_manifest_remembers_when_it_was_last_of_use(layout):
    keep_image(layout, "e" * 64)
    directory = layout.images / ("e" * 64)
    os.utime(directory / cache.MANIFEST, (1, 1))
    assert store.find_image(layout, "e" * 64).used == 1
    store.mark_used(directory)
    assert store.find_image(layout, "e" * 64).used > 1
    store.mark_used(layout.images / "gone")


@pytest.mark.parametrize("facts", [{"content": None, "versions": []}, {"config": []}, {"config": {"Env": "A=1"}}])
def test_an_image_of_another_version_is_not_found(layout, facts):
    keep_image(layout, "e" * 64, **facts)
    assert store.find_image(layout, "e" * 64) is None
    assert store.list_images(layout) == {}


def test_the_configuration_beside_a_sandboxs_disk(tmp_path):
    path = tmp_path / "image.json"
    assert store.image_config(path) == ImageConfig()
    path.write_text('{"config": {"Env": ["A=1"], "User": "node"}}')
    assert store.image_config(path) == ImageConfig((("A", "1"),), "node")
    path.write_text('{"config": 1}')
    with pytest.raises(store.StateError):
        store.image_config(path)


@pytest.mark.parametrize(
    ("origin", "title"),
    [(ORIGIN, "debian:trixie"), (Origin("local", "a:1"), "docker:a:1"), (Origin("tar", path="/x.tar"), "tar:/x.tar")],
)
def test_an_origin_in_words(origin, title):
    assert origin_title(origin) == title
