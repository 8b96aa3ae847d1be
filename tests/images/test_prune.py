"""What goes from the cache and what stays: chosen by data, done under the locks that builders hold."""

import os
import time
from pathlib import Path

import pytest

from sandboxfile.host.layout import Layout
from sandboxfile.images import cache
from sandboxfile.images.prune import Entry, Rules, choose, disk_use, exclusive_layers, remove, survey

NOW, DAY, MIB = 1_000_000_000.0, 86400.0, 1 << 20
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path / "state", tmp_path / "cache", tmp_path / "run")


root = Path("/cache")


def image(name, *layers, days=0, size=100, busy=False):
    return Entry("image", name, root / name, size, size, NOW - days * DAY, f"title {name}", layers, busy)


def layer(name, days=0, size=10, busy=False):
    return Entry("layer", name, root / name, size, size, NOW - days * DAY, busy=busy)


def gone(entries, **rules):
    chosen = choose(entries, Rules("this", **rules), NOW)
    assert len({choice.entry for choice in chosen}) == len(chosen), "nothing goes twice"
    return [choice.entry.digest for choice in chosen]


def leftover(name, busy=False):
    return Entry("leftover", name, root / name, busy=busy)


def platform(name):
    return Entry("platform", name, root / name)


def test_what_nobody_can_use_goes_without_being_asked_for():
    entries = [leftover("half"), platform("other"), platform("this"), layer("a"), layer("b"), image("x", "a")]
    assert gone(entries) == ["half", "other", "b"]
    assert [choice.reason for choice in choose(entries, Rules("this"), NOW)] == [
        "left by a build that did not end",
        "of another version of sbx",
        "of no image",
    ]


def test_images_go_when_they_were_of_no_use_for_long_and_their_own_layers_with_them():
    entries = [layer("shared"), layer("own"), image("new", "shared", days=6), image("old", "shared", "own", days=8)]
    assert gone(entries, unused=7 * DAY) == ["old", "own"]
    assert choose(entries, Rules("this", unused=7 * DAY), NOW)[0].reason == "not used for 8 d"
    assert gone(entries) == []


def test_an_image_that_a_sandbox_stands_on_stays():
    entries = [image("x", days=100), image("y", days=100)]
    assert gone(entries, unused=0.0, standing=frozenset({"x"})) == ["y"]
    assert gone(entries, keep_size=0, standing=frozenset({"x"})) == ["y"]


def test_what_is_being_built_stays_and_so_do_layers_it_may_need():
    entries = [leftover("half", busy=True), layer("a"), image("x", days=100), leftover("other")]
    assert gone(entries, unused=0.0, keep_size=0) == ["other", "x"]
    assert gone([image("x", days=9, busy=True)], unused=0.0) == []
    assert gone([layer("a", busy=True), layer("b"), leftover("c")]) == ["c"]


def test_the_cache_shrinks_to_a_size_by_what_was_not_used_for_longest():
    entries = [
        *(layer("a", days=5), layer("b", days=4), layer("c", days=3)),
        *(image("x", "a", "b", days=2), image("y", "b", "c", days=1)),
    ]
    assert gone(entries, keep_size=230) == []
    assert gone(entries, keep_size=229) == ["x", "a"]
    assert gone(entries, keep_size=120) == ["x", "a"]
    assert gone(entries, keep_size=119) == ["x", "a", "y", "b", "c"]
    assert gone(entries, keep_size=0) == ["x", "a", "y", "b", "c"]
    assert gone(entries, keep_size=115, standing=frozenset({"y"})) == ["x", "a", "b"]


def test_layers_go_with_the_last_image_that_was_made_of_them():
    entries = [layer("shared"), layer("own"), image("x", "shared", "own"), image("y", "shared")]
    assert [found.digest for found in exclusive_layers(entries[2], entries)] == ["own"]
    assert exclusive_layers(entries[2], [*entries, leftover("half", busy=True)]) == []


# --- on disk -----------------------------------------------------------------------------------------------------


async def made(directory, digest, size=MIB, **facts):
    async def make(work):
        (work / "content").write_bytes(b"x" * size)
        return facts

    path, _ = await cache.build(directory, digest, make, report=lambda message: None)
    return path


async def test_the_survey_sees_each_file_once_and_what_its_removal_gives_back(layout, tmp_path):
    path = await made(layout.images, "x", title="debian:trixie", layers=["a"])
    await made(layout.layers, "a")
    await made(layout.platforms, "this")
    os.link(path / "content", tmp_path / "base.ext4")
    (layout.layers / ".build-b-xyz").mkdir()
    (layout.images / "broken").mkdir()
    found = {(entry.kind, entry.digest): entry for entry in survey(layout)}
    assert set(found) == {
        ("image", "x"), ("layer", "a"), ("platform", "this"), ("leftover", "b"), ("leftover", "broken")
    }  # fmt: skip
    one = found["image", "x"]
    assert (one.title, one.layers) == ("debian:trixie", ("a",))
    assert abs(one.used - time.time()) < 60
    assert one.size >= MIB
    assert one.freed < MIB, "a sandbox stands on the same blocks"
    assert found["layer", "a"].freed >= MIB


def test_holes_take_no_space_and_a_second_name_none_either(tmp_path):
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    (tmp_path / "one").write_bytes(b"x" * MIB)
    os.link(tmp_path / "one", tmp_path / "two")
    size, freed = disk_use(tmp_path)
    assert MIB <= size < 2 * MIB
    assert freed < MIB


def test_a_cache_that_is_not_there_has_nothing(layout):
    assert survey(layout) == []
    assert not layout.cache.exists()


async def test_what_is_removed_is_gone_and_nothing_else_is(layout):
    await made(layout.images, "x")
    await made(layout.images, "y")
    (layout.images / ".build-z-1234").mkdir()
    (layout.images / ".build-z-1234" / "half").touch()
    for entry in survey(layout):
        if entry.digest != "y":
            assert await remove(entry)
    assert [entry.digest for entry in survey(layout)] == ["y"]
    assert sorted(path.name for path in layout.images.iterdir() if not path.name.startswith(".lock-")) == ["y"]
    assert await remove(Entry("image", "x", layout.images / "x")), "gone is removed"


async def test_what_somebody_builds_is_busy_and_is_not_removed(layout):
    path = await made(layout.images, "x")
    lock = cache.try_lock(layout.images, "x")
    try:
        (entry,) = survey(layout)
        assert entry.busy
        assert not await remove(entry)
        assert (path / "content").exists()
    finally:
        os.close(lock)
    (entry,) = survey(layout)
    assert not entry.busy
    assert await remove(entry)
    assert not path.exists()


async def test_a_directory_half_removed_is_never_taken_for_whole(layout, monkeypatch):
    from sandboxfile.images.packages import mmdebstrap

    async def killed(path):
        raise KeyboardInterrupt

    await made(layout.images, "x")
    monkeypatch.setattr(mmdebstrap, "remove_tree", killed)
    with pytest.raises(KeyboardInterrupt):
        await remove(survey(layout)[0])
    assert cache.find(layout.images, "x") is None
    assert [entry.kind for entry in survey(layout)] == ["leftover"]
