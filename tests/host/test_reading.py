"""Files of a project read where they are, or from beside another sandbox file as if that lay here."""

import hashlib
import os

import pytest

from sandboxfile.errors import NotFoundError
from sandboxfile.host.layout import Layout
from sandboxfile.host.reading import DISK, Moved
from sandboxfile.resolve.inputs import Source


@pytest.fixture
def layout(tmp_path):
    return Layout.from_environment({"SBX_HOME": str(tmp_path / "sbx")}, tmp_path, os.getuid())


@pytest.fixture
def here(tmp_path):
    """A project, and another one in `there`."""
    for name, text in {
        "here/sandbox.yaml": "new",
        "here/only": "here",
        "here/src/x": "x",
        "there/old.yaml": "old",
        "there/team.yaml": "team",
        "there/file": "content",
        "outside": "o",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "here"


@pytest.fixture
def moved(here, tmp_path):
    return Moved(here / "sandbox.yaml", tmp_path / "there/old.yaml")


def test_the_other_file_and_what_is_beside_it_stand_for_those_here(moved, here, tmp_path):
    assert moved.read(here / "sandbox.yaml") == b"old"
    assert moved.read(here / "team.yaml") == b"team"
    assert moved.exists(here / "team.yaml")
    assert moved.read(tmp_path / "outside") == b"o"
    fact = moved.look(str(here / "team.yaml"), read=True)
    assert (fact.kind, fact.real, fact.content) == ("file", str(here / "team.yaml"), b"team")


def test_a_file_that_is_only_here_is_missing_and_a_directory_is_not(moved, here):
    assert not moved.exists(here / "only")
    with pytest.raises(NotFoundError):
        moved.read(here / "only")
    assert moved.look(str(here / "only"), read=True).kind == "missing"
    assert moved.look(str(here / "src")).real == str(here / "src")


def test_links_are_those_of_there_as_if_they_lay_here(moved, here, tmp_path):
    there, private = tmp_path / "there", tmp_path / "private"
    for place in (private / "keys", there / "data/keys", tmp_path / "shared", there / "own"):
        place.mkdir(parents=True)
    (here / "data").symlink_to(private)
    (there / "up").symlink_to("../shared")
    (there / "in").symlink_to("./own")
    (there / "out").symlink_to(private)
    (there / "deep").symlink_to("in/../data")
    for name, real in {
        "data": here / "data",
        "data/keys": here / "data/keys",
        "up": tmp_path / "shared",
        "in": here / "own",
        "out/keys": private / "keys",
        "deep": here / "data",
    }.items():
        fact = moved.look(str(here / name))
        assert (fact.kind, fact.real) == ("directory", str(real))


def test_relative_paths_count_from_here(here, tmp_path, monkeypatch):
    monkeypatch.chdir(here / "src")
    moved = Moved(here / "sandbox.yaml", tmp_path / "there/old.yaml")
    monkeypatch.chdir(here)
    assert moved.read(here.joinpath("team.yaml").relative_to(here)) == b"team"


def test_what_templates_are_made_from_is_the_others(moved, here, layout):
    source = Source("file", str(here / "file"))
    found = moved.facts([source], {source.name: moved.look(source.name)}, layout)
    assert found[source].digest == f"sha256:{hashlib.sha256(b'content').hexdigest()}"
    missing = Source("file", str(here / "only"))
    assert moved.facts([missing], {}, layout)[missing].problem == "there is no such file"


def test_the_disk_is_as_it_is(here, layout):
    source = Source("file", str(here / "only"))
    assert DISK.read(here / "only") == b"here"
    assert DISK.exists(here / "only")
    assert DISK.look(source.name, read=True).content == b"here"
    assert DISK.facts([source], {source.name: DISK.look(source.name)}, layout)[source].digest.startswith("sha256:")
