"""A built image under the name that its pins give it: the same bytes, found by either recipe; and what its pins are."""

from dataclasses import replace
from functools import partial

import anyio
import pytest

from sandboxfile.errors import BuildError
from sandboxfile.host.layout import Layout
from sandboxfile.images import cache, store
from sandboxfile.images.aliasing import alias_image
from sandboxfile.images.held import hold_to_lock
from sandboxfile.images.pinning import entry_of
from sandboxfile.images.store import Difference
from sandboxfile.model.template import BuildStep, DesiredTemplate, Origin, Recipe
from sandboxfile.resolve.locking import hidden, pinned
from sandboxfile.resolve.templates import named

pytestmark = pytest.mark.anyio
CONTENT, DIGEST = f"sha256:{'c' * 64}", f"sha256:{'d' * 64}"
EPOCH = 1_700_000_000
OCI = Origin("oci", "registry.example.com/dev:1")
NPM = BuildStep("npm", ("typescript",))
RUN = BuildStep("run", command=("true",))
RECIPE = named(Recipe(OCI, (NPM, RUN)))
DEBIAN = named(Recipe(Origin("debian", "trixie", packages=("git",))))


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path / "state", tmp_path / "cache", tmp_path / "run")


async def build(root, digest, name, facts):
    async def make(work):
        (work / name).write_bytes(digest.encode())
        return facts

    return (await cache.build(root, digest, make, report=print))[1]


async def fill(layout, recipe, versions, content=CONTENT):
    """What a build leaves: layers and an image."""
    parent, builds, keys = "", [], store.layer_keys(recipe)
    for number, key in enumerate(keys):
        facts = {"title": "t", "parent": parent, "config": {}, "origin_digest": "" if number else DIGEST}
        facts |= {"versions": versions[number], "epoch": 0 if number else EPOCH}
        parent = (await build(layout.layers, key, store.TAR, facts))["build"]
        builds.append(parent)
    facts = {"content": content, "title": "t", "template": "dev", "config": {}, "layers": list(keys), "builds": builds}
    facts |= {"sealed": 5.0, "epoch": EPOCH, "origin_digest": DIGEST, "versions": {}}
    await build(layout.images, recipe.digest, store.DISK, facts)
    return store.find_image(layout, recipe.digest)


VERSIONS = [{"apt": [["libc6", "2"]]}, {"apt": [["libc6", "2"]], "npm": [["typescript", "5.1"]]}, {}]


async def test_an_entry_has_the_digest_of_the_origin_and_the_versions_of_each_step(layout):
    image = await fill(layout, RECIPE, VERSIONS)
    entry = entry_of(layout, RECIPE, image)
    assert entry.recipe == Recipe(
        replace(OCI, digest=DIGEST), (replace(NPM, versions=(("typescript", "5.1"),)), RUN), EPOCH
    )
    assert entry.content == CONTENT


async def test_debian_is_pinned_by_its_whole_list_of_packages(layout):
    image = await fill(layout, DEBIAN, [{"apt": [["git", "2"], ["libc6", "1"]]}])
    origin = entry_of(layout, DEBIAN, image).recipe.origin
    assert origin.versions == (("git", "2"), ("libc6", "1"))


async def test_without_all_its_layers_there_is_no_entry(layout):
    image = await fill(layout, RECIPE, VERSIONS)
    (layout.layers / image.layers[1] / store.TAR).unlink()
    assert entry_of(layout, RECIPE, image) is None


async def test_the_image_is_found_by_its_pins_and_takes_no_room(layout):
    image = await fill(layout, RECIPE, VERSIONS)
    pins = pinned(RECIPE, entry_of(layout, RECIPE, image).recipe)
    await alias_image(layout, image, pins, print)
    alias = store.find_image(layout, pins.digest)
    assert (alias.content, alias.sealed, alias.epoch) == (image.content, image.sealed, image.epoch)
    assert alias.disk.samefile(image.disk)
    chain = store.find_chain(layout, store.layer_keys(pins), alias.builds)
    assert len(chain) == 3
    assert all(
        layer.tar.samefile(layout.layers / key / store.TAR) for layer, key in zip(chain, image.layers, strict=True)
    )
    assert hidden(pins) == replace(entry_of(layout, pins, alias).recipe)


async def test_it_is_done_once_and_again_for_another_image(layout):
    image = await fill(layout, RECIPE, VERSIONS)
    pins = pinned(RECIPE, entry_of(layout, RECIPE, image).recipe)
    for _ in range(2):
        await alias_image(layout, image, pins, print)
    before = store.find_image(layout, pins.digest)
    await alias_image(layout, before, pins, print)
    assert store.find_image(layout, pins.digest) == before
    other = replace(image, content=f"sha256:{'e' * 64}")
    manifest = cache.find(layout.images, image.digest)[1]
    for path in (layout.images / image.digest,):
        await cache.build(
            layout.images,
            image.digest,
            partial(_copy, {**manifest, "content": other.content}),
            report=print,
            accept=lambda found: found["content"] == other.content,
        )
        assert path.exists()
    await alias_image(layout, store.find_image(layout, image.digest), pins, print)
    assert store.find_image(layout, pins.digest).content == other.content


async def _copy(facts, work):
    (work / store.DISK).write_bytes(b"another")
    return facts


async def test_with_pruned_layers_only_the_image_gets_the_name(layout):
    image = await fill(layout, RECIPE, VERSIONS)
    pins = pinned(RECIPE, entry_of(layout, RECIPE, image).recipe)
    (layout.layers / image.layers[0] / store.TAR).unlink()
    await alias_image(layout, image, pins, print)
    alias = store.find_image(layout, pins.digest)
    assert alias.layers == image.layers
    assert store.find_layer(layout, store.layer_keys(pins)[0]) is None


async def test_an_image_that_goes_meanwhile_is_an_error_and_leaves_nothing(layout):
    image = await fill(layout, RECIPE, VERSIONS)
    pins = pinned(RECIPE, entry_of(layout, RECIPE, image).recipe)
    image.disk.unlink()
    with pytest.raises(BuildError, match="just been removed"):
        await alias_image(layout, image, pins, print)
    assert store.find_image(layout, pins.digest) is None
    assert not [
        path for path in await anyio.to_thread.run_sync(lambda: list(layout.images.iterdir())) if "build" in path.name
    ]


async def test_another_content_is_told_and_refused_only_when_frozen(layout):
    image = await fill(layout, RECIPE, VERSIONS)
    template = DesiredTemplate("dev", RECIPE, locked=True, content=DIGEST)
    assert hold_to_lock(template, image) == ""
    paths = (("etc/passwd", "content"), ("etc/motd", "mode"))
    moved = replace(image, different=Difference(DIGEST, paths))
    assert "/etc/passwd: content" in hold_to_lock(template, moved)
    with pytest.raises(BuildError, match=r"dev is not what sandbox\.lock has") as caught:
        hold_to_lock(replace(template, frozen=True), moved)
    assert "/etc/motd: mode" in caught.value.output
    assert "--update" in caught.value.hint
