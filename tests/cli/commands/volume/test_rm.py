"""`volume rm`, as a user runs it."""

import pytest

from sandboxfile.cli.commands.volume.rm import match_volume
from sandboxfile.errors import NotFoundError
from sandboxfile.host.volumes import volume_ids
from sandboxfile.model.desired import Mount
from sandboxfile.names import VolumeId


def test_volumes_are_deleted_after_it_was_shown_what_is_lost(cli, layout, make_volume):
    for name in ("shop/data", "shop/old", "other/cache"):
        make_volume(name, 1 << 30)
    refused = cli("volume", "rm", "data", code=1)
    assert "ITS CONTENT IS LOST" in refused.stderr
    assert "no terminal to ask on" in refused.stderr
    assert len(volume_ids(layout)) == 3
    cli("volume", "rm", "-y", "data", "other/cache")
    assert volume_ids(layout) == [VolumeId("shop", "old")]


def test_one_that_a_sandbox_would_have_is_kept(cli, layout, make_volume, stopped):
    make_volume("shop/data", 1 << 30)
    stopped("web", mounts=(Mount("/data", "data"),))
    assert "the volume shop/data belongs to the sandbox web" in cli("volume", "rm", "-y", "data", code=1).stderr
    assert volume_ids(layout) == [VolumeId("shop", "data")]


def test_a_name_that_no_volume_has_is_refused_and_nothing_is_deleted(cli, layout, make_volume):
    make_volume("shop/data", 1 << 30)
    said = cli("volume", "rm", "-y", "gone", code=1)
    assert said.stderr.splitlines() == [
        "error: there is no volume gone; nothing was deleted",
        "hint: `sbx volume ls` lists them",
    ]
    assert "did you mean data" in cli("volume", "rm", "-y", "data", "date", code=1).stderr
    assert volume_ids(layout) == [VolumeId("shop", "data")]


KNOWN = [VolumeId("a", "data"), VolumeId("a", "more"), VolumeId("b", "data")]


@pytest.mark.parametrize(
    ("name", "here", "expected"),
    [
        ("more", None, KNOWN[1]),
        ("data", "a", KNOWN[0]),
        ("data", "b", KNOWN[2]),
        ("b/data", "a", KNOWN[2]),
        ("more", "b", KNOWN[1]),
    ],
)
def test_a_name_means_the_volume_of_the_project_here_or_the_only_one(name, here, expected):
    assert match_volume(name, KNOWN, here) == expected


@pytest.mark.parametrize(("name", "here"), [("data", None), ("data", "c"), ("b/more", "b"), ("x", "a")])
def test_a_name_that_means_several_or_nothing_is_refused(name, here):
    with pytest.raises(NotFoundError):
        match_volume(name, KNOWN, here)
