"""Where on this host a repository lies, by its address, as git finds it."""

import subprocess

import pytest

from sandboxfile.host.git_local import places_of


def git(top, *words):
    who = ("-c", "user.name=T", "-c", "user.email=t@example.com")
    subprocess.run(["git", *who, *words], cwd=top, capture_output=True, check=True)


@pytest.fixture
def shop(tmp_path):
    place = tmp_path / "shop"
    git(tmp_path, "init", "-q", "-b", "main", str(place))
    git(place, "commit", "-q", "--allow-empty", "-m", "x")
    return place


@pytest.mark.parametrize("address", ["https://git.example.com/x.git", "ssh://git@host/x", "git@host:x"])
def test_one_elsewhere_lies_nowhere_here(address):
    assert places_of(address) == ()


def test_a_directory_with_a_work_tree_has_it_in_its_git_directory(shop):
    wanted = (f"{shop}/.git",)
    assert places_of(str(shop)) == wanted
    for address in (f"file://{shop}", f"file://{shop}/", f"file://localhost{shop}"):
        assert places_of(address) == wanted
    assert places_of(f"file://{str(shop).replace('h', '%68')}") == wanted


def test_a_bare_one_is_found_with_and_without_its_ending(tmp_path):
    git(tmp_path, "init", "-q", "--bare", "bare.git")
    assert places_of(f"{tmp_path}/bare.git") == places_of(f"{tmp_path}/bare") == (f"{tmp_path}/bare.git",)


def test_one_that_is_not_there_lies_where_it_would(tmp_path):
    assert places_of(f"{tmp_path}/none") == (f"{tmp_path}/none",)


def test_a_further_work_tree_has_it_where_the_first_has(shop, tmp_path):
    git(shop, "worktree", "add", "-q", "../other")
    places = places_of(f"{tmp_path}/other")
    assert places[0] == f"{tmp_path}/other/.git"
    assert places[1] == f"{shop}/.git/worktrees/other"
    assert places[2].startswith(f"{shop}/.git/")
