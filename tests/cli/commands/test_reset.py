"""`reset`, as a user runs it: what goes, and what is said to stay."""

import os
import shutil

from sandboxfile.host.checkpoints import list_checkpoints, make_checkpoint
from sandboxfile.images import cache
from sandboxfile.names import BUILDS, SandboxId


def test_sandboxes_go_and_saved_templates_and_the_cache_are_said_to_stay(cli, stopped, make_saved, make_image):
    paths, kept, image = stopped("web"), make_saved("kept"), make_image("1" * 64)
    said = cli("reset", "-y").stderr
    assert "saved templates stay (1, " in said
    assert "sbx template rm TAG" in said
    assert "the cache stays (" in said
    assert "sbx prune --all" in said
    assert not paths.root.exists()
    assert kept.directory.exists()
    assert image.exists()


def test_what_killed_builds_left_goes(cli, layout, stopped):
    stopped("web")
    half = layout.images / ".build-1-x"
    half.mkdir(parents=True)
    machine = layout.sandboxes / BUILDS / "0123456789abcdef"
    machine.mkdir(parents=True)
    (machine / "disk.qcow2").write_bytes(b"x")
    assert "removed what 1 build left" in cli("reset", "-y").stderr
    assert not half.exists()
    assert not machine.exists()


def test_what_is_being_built_stays(cli, layout):
    half = layout.images / ".build-1-x"
    half.mkdir(parents=True)
    lock = cache.try_lock(layout.images, "1")
    try:
        assert "removed" not in cli("reset", "-y").stderr
    finally:
        os.close(lock)
    assert half.exists()


def test_checkpoints_of_what_is_gone_are_named_and_go(cli, layout, stopped):
    paths = stopped("web")
    for file in (paths.tree, paths.image):
        file.touch()
    make_checkpoint(paths, "good")
    shutil.rmtree(paths.root)
    said = cli("reset", code=1).stderr
    assert "these are gone, and their checkpoints go as well: shop/web" in said
    assert [each.label for each in list_checkpoints(paths)] == ["good"]
    cli("reset", "-y")
    assert list_checkpoints(paths) == []


def test_what_was_put_aside_goes(cli, layout, stopped):
    place = layout.kept(SandboxId("shop", "web"))
    place.parent.mkdir(parents=True)
    stopped("web").root.rename(place)
    cli("reset", "-y")
    assert not place.exists()
    assert list(layout.trash.iterdir()) == []
