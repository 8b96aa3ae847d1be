"""Saved templates: whole or not there, replaced as one step, and independent of the cache."""

import errno
import os

import anyio
import pytest

from sandboxfile.errors import BuildError, BusyError, NotFoundError
from sandboxfile.host.layout import Layout
from sandboxfile.images import saved
from sandboxfile.images.config import ImageConfig
from sandboxfile.model.template import Origin

CONFIG = ImageConfig((("A", "1"),))


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path / "state", tmp_path / "cache", tmp_path / "run")


@pytest.fixture
def layers(tmp_path):
    paths = [tmp_path / "one", tmp_path / "two"]
    for path in paths:
        path.write_text(path.name)
    return paths


def contents(info):
    return [path.read_text() for path in info.layers]


def files(layout, tag="dev"):
    return sorted(path.name for path in (layout.saved / tag).iterdir())


def test_what_was_saved_is_found_without_what_it_came_from(layout, layers):
    info = saved.save_layers(layout, "dev", layers, CONFIG, {"sandbox": "shop/web"}, title="sandbox shop/web")
    for path in layers:
        path.unlink()
    assert saved.find_saved(layout, "dev") == info
    assert saved.list_saved(layout) == [info]
    assert (info.config, info.facts, info.title) == (CONFIG, {"sandbox": "shop/web"}, "sandbox shop/web")
    assert contents(info) == ["one", "two"]


def test_the_digest_is_that_of_layers_in_their_order_and_of_the_configuration(layout, layers):
    digests = [
        saved.save_layers(layout, tag, paths, config, {}).digest
        for tag, paths, config in (
            ("a", layers, CONFIG),
            ("b", layers, CONFIG),
            ("c", layers[::-1], CONFIG),
            ("d", layers, ImageConfig()),
        )
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_a_tag_is_replaced_only_when_asked(layout, layers):
    saved.save_layers(layout, "dev", layers, CONFIG, {})
    with pytest.raises(BusyError, match="already"):
        saved.save_layers(layout, "dev", layers[:1], CONFIG, {})
    assert contents(saved.find_saved(layout, "dev")) == ["one", "two"]
    info = saved.save_layers(layout, "dev", layers[:1], CONFIG, {}, replace=True)
    assert contents(info) == ["one"]
    assert len(files(layout)) == 2


@pytest.mark.parametrize("place", ["link_or_copy", "write_atomic"])
def test_a_save_that_fails_leaves_what_was_there(layout, layers, monkeypatch, place):
    before = saved.save_layers(layout, "dev", layers, CONFIG, {})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(saved, place, full)
    with pytest.raises(BuildError, match="No space left"):
        saved.save_layers(layout, "dev", layers[:1], CONFIG, {}, replace=True)
    assert saved.find_saved(layout, "dev") == before
    assert len(files(layout)) == 3
    with pytest.raises(BuildError):
        saved.save_layers(layout, "new", layers, CONFIG, {})
    assert saved.list_saved(layout) == [before]


def test_what_a_killed_save_left_is_no_template_and_goes_with_the_next(layout, layers):
    (layout.saved / "dev").mkdir(parents=True)
    (layout.saved / "dev/0123-0.layer").write_text("half")
    assert saved.find_saved(layout, "dev") is None
    saved.save_layers(layout, "dev", layers, CONFIG, {})
    assert "0123-0.layer" not in files(layout)


@pytest.mark.parametrize("harm", ["layer", "manifest"])
def test_what_is_harmed_is_not_found(layout, layers, harm):
    info = saved.save_layers(layout, "dev", layers, CONFIG, {})
    path = info.layers[0] if harm == "layer" else info.directory / "manifest.json"
    os.truncate(path, 1)
    assert saved.find_saved(layout, "dev") is None


@pytest.mark.parametrize("tag", ["../x", "", "A", ".hidden", "a/b"])
def test_a_tag_is_never_a_path(layout, layers, tag):
    with pytest.raises(BuildError, match="cannot be the tag"):
        saved.save_layers(layout, tag, layers, CONFIG, {})
    with pytest.raises(NotFoundError):
        saved.remove_saved(layout, tag)


def test_removing_leaves_nothing(layout, layers):
    saved.save_layers(layout, "dev:1", layers, CONFIG, {})
    saved.remove_saved(layout, "dev:1")
    assert list(layout.saved.iterdir()) == []
    with pytest.raises(NotFoundError):
        saved.remove_saved(layout, "dev:1")


def fetch(layout, work, **fields):
    origin = Origin("saved", "dev", **fields)
    return anyio.run(lambda: saved.fetch(layout, origin, work, epoch=0, report=print))


def test_as_an_origin_it_gives_its_layers_and_holds_to_its_pin(layout, layers, tmp_path):
    with pytest.raises(BuildError, match="no saved template dev"):
        fetch(layout, tmp_path)
    info = saved.save_layers(layout, "dev", layers, CONFIG, {})
    work = tmp_path / "work"
    work.mkdir()
    fetched = fetch(layout, work, digest=info.digest)
    assert [path.read_text() for path in fetched.layers] == ["one", "two"]
    assert (fetched.config, fetched.digest) == (CONFIG, info.digest)
    with pytest.raises(BuildError, match="was pinned to sha256:0 and is now"):
        fetch(layout, tmp_path, digest="sha256:0")
