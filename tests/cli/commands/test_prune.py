"""`prune`, as a user runs it."""

import json
import os
import shutil
import time

from sandboxfile.host.checkpoints import find_checkpoint, list_checkpoints, make_checkpoint
from sandboxfile.images import cache
from sandboxfile.names import SandboxId


def removed(said):
    return sorted((item["kind"], item["digest"]) for item in json.loads(said.stdout)["removed"])


def test_an_empty_cache_has_nothing_to_remove(cli, layout):
    said = cli("prune", "-y")
    assert said.stdout == ""
    assert said.stderr == "in the cache: nothing\nnothing to remove\n"
    assert json.loads(cli("prune", "-y", "--format", "json").stdout) == {"removed": [], "freed": 0, "dry_run": False}
    assert not layout.cache.exists()


def test_a_dry_run_shows_each_with_its_reason_and_changes_nothing(cli, layout, make_image, make_layer, age):
    make_layer("a")
    old, _ = make_image("1" * 64, "a"), make_image("2" * 64)
    age(old, 31)
    said = cli("prune", "--dry-run")
    assert "in the cache: images 2.0 MiB (2), layers 1.0 MiB (1)" in said.stderr
    lines = said.stdout.splitlines()
    assert lines[0].split() == ["KIND", "DIGEST", "SIZE", "USED", "WHY", "MADE", "OF"]
    assert lines[1].startswith(f"image  {'1' * 12}  1.0 MiB  31d   not used for 31 d  debian:trixie + git")
    assert lines[2].startswith("layer  a")
    assert lines[3] == "frees 2.0 MiB"
    assert old.exists()
    assert removed(cli("prune", "--dry-run", "--format", "json")) == [("image", "1" * 64), ("layer", "a")]
    assert old.exists()


def test_what_is_removed_is_gone_and_the_rest_is_there(cli, layout, make_image, make_layer, age):
    for key in ("a", "b"):
        make_layer(key)
    old, new = make_image("1" * 64, "a"), make_image("2" * 64, "b")
    age(old, 8)
    (layout.images / ".build-3-x").mkdir()
    assert removed(cli("prune", "-y", "--format", "json")) == [("leftover", "3")]
    said = cli("prune", "-y", "--older-than", "7d")
    assert said.stdout == ""
    assert "freed 2.0 MiB" in said.stderr
    assert (old.exists(), new.exists()) == (False, True)
    assert [path.name for path in layout.layers.iterdir() if not path.name.startswith(".")] == ["b"]


def test_all_removes_every_image_but_those_that_sandboxes_stand_on(cli, layout, make_image, stopped):
    make_image("d")  # that of `stopped`
    stopped("web")
    other = make_image("e" * 64)
    assert removed(cli("prune", "-y", "--all", "--format", "json")) == [("image", "e" * 64)]
    assert not other.exists()


def test_a_size_to_keep_is_kept_to(cli, layout, make_image, age):
    for name, days in (("1", 3), ("2", 2), ("3", 1)):
        age(make_image(name * 64), days)
    assert removed(cli("prune", "-y", "--keep-size", "2.5m", "--format", "json")) == [("image", "1" * 64)]
    assert removed(cli("prune", "-y", "--keep-size", "0", "--format", "json")) == [
        ("image", "2" * 64),
        ("image", "3" * 64),
    ]


def test_what_is_being_built_stays(cli, layout, make_image):
    path = make_image("1" * 64)
    lock = cache.try_lock(layout.images, "1" * 64)
    try:
        assert removed(cli("prune", "-y", "--all", "--format", "json")) == []
    finally:
        os.close(lock)
    assert path.exists()


def test_nothing_is_removed_when_nobody_can_be_asked(cli, make_image):
    path = make_image("1" * 64)
    assert "--yes" in cli("prune", "--all", code=1).stderr
    assert path.exists()


def test_state_is_never_touched(cli, layout, make_saved, stopped):
    info, paths = make_saved("kept"), stopped("web")
    cli("prune", "-y", "--all", "--keep-size", "0")
    assert all(layer.exists() for layer in info.layers)
    assert paths.disk.exists()
    assert paths.base.exists()


def test_ages_and_sizes_that_are_none_are_refused(cli):
    assert "36h" in cli("prune", "--older-than", "7 weeks", code=64).stderr
    assert "20GiB" in cli("prune", "--keep-size", "much", code=64).stderr


def test_old_checkpoints_that_nobody_named_go_when_asked_for(cli, layout, stopped):
    paths = stopped("web")
    for file in (paths.tree, paths.image):
        file.touch()
    for label, days in (("before-20260101-000000", 40), ("before-20260201-000000", 5), ("good", 40)):
        make_checkpoint(paths, label)
        past = time.time() - days * 86400
        os.utime(find_checkpoint(paths, label).paths.record, (past, past))
    said = cli("prune", "-y").stderr
    assert "(shop/web before-20260101-000000); --checkpoints removes them" in said
    assert "--yes" in cli("prune", "--checkpoints", code=1).stderr
    assert json.loads(cli("prune", "--checkpoints", "--dry-run", "--format", "json").stdout)["freed"] > 0
    assert len(list_checkpoints(paths)) == 3
    cli("prune", "-y", "--checkpoints")
    assert [each.label for each in list_checkpoints(paths)] == ["good", "before-20260201-000000"]
    shutil.rmtree(paths.root)
    cli("prune", "-y", "--checkpoints", "--older-than", "4d")
    assert [each.label for each in list_checkpoints(paths)] == ["good"]


def test_what_is_put_aside_is_said_and_goes_when_asked_for(cli, layout, stopped):
    root = stopped("web").root
    place = layout.kept(SandboxId("shop", "web"))
    place.parent.mkdir(parents=True)
    root.rename(place)
    (place / "disk.qcow2").write_bytes(b"x" * 8192)
    said = cli("prune", "-y").stderr
    assert "put aside for `sbx rollback`" in said
    assert "(shop); --kept removes it" in said
    assert "--yes" in cli("prune", "--kept", code=1).stderr
    assert json.loads(cli("prune", "--kept", "--dry-run", "--format", "json").stdout)["freed"] > 0
    assert place.is_dir()
    assert "freed" in cli("prune", "--kept", "-y").stderr
    assert not place.exists()
    assert list(layout.trash.iterdir()) == []
    assert "put aside" not in cli("prune", "-y").stderr
