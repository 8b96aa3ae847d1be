"""The ways to files, through whatever an agent may leave, and directories known again."""

import pytest

from sandboxfile.host.ways import Identity, identity, way


def test_a_way_has_every_link_and_directory_on_it(clean_home):
    (clean_home / "real").mkdir()
    (clean_home / "real/file").touch()
    (clean_home / "link").symlink_to("real")
    (clean_home / "second").symlink_to(clean_home / "link")
    passed = way(f"{clean_home}/second/file")
    assert {f"{clean_home}/{name}" for name in ("second", "link", "real", "real/file")} <= set(passed)
    assert passed[-1] == f"{clean_home}/real/file"


def test_a_directory_that_is_left_again_is_on_the_way(clean_home):
    passed = way(f"{clean_home}/shop/src/../../other/policy.yaml")
    assert f"{clean_home}/shop/src" in passed
    assert passed[-1] == f"{clean_home}/other/policy.yaml"


@pytest.mark.parametrize("target", ["loop", "nowhere/at/all", "file/below", "/"])
def test_a_way_that_leads_nowhere_ends_all_the_same(clean_home, target):
    (clean_home / "file").touch()
    (clean_home / "loop").symlink_to(target)
    assert f"{clean_home}/loop" in way(f"{clean_home}/loop/sandbox.yaml")


def test_an_identity_is_that_of_a_directory_alone(clean_home):
    (clean_home / "link").symlink_to(clean_home)
    status = clean_home.stat()
    assert identity(str(clean_home))[:2] == (status.st_dev, status.st_ino)
    assert identity(str(clean_home / "link")) is None
    assert identity(str(clean_home / "sandbox.yaml")) is None
    assert identity(str(clean_home / "nothing")) is None


def test_a_generation_that_nobody_knows_may_be_any():
    old, new, unknown = Identity(1, 2, 3), Identity(1, 2, 4), Identity(1, 2)
    assert old.may_be(old)
    assert not old.may_be(new)
    assert old.may_be(unknown)
    assert unknown.may_be(old)
    assert not old.may_be(Identity(2, 2, 3))
