"""Noticing that files changed, however programs change them: in place, by rename, later on, through links."""

import os
from functools import partial

import anyio
import pytest

from sandboxfile.cli import watching
from sandboxfile.cli.watching import changed, look_at, places


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(watching, "_STILL", 0.02)


def noticed(paths, change, *, before=None):
    """What is said to have changed when `change` happens while somebody waits."""

    async def wait():
        known = look_at(paths) if before is None else before
        found = []
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:

                async def watch():
                    found.extend(await changed(paths, known))

                tasks.start_soon(watch)
                await anyio.lowlevel.checkpoint()
                change()
        return [path.name for path in found]

    return anyio.run(wait)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "sandbox.yaml"
    path.write_text("name: a\n")
    return path


def replace(path):
    """As editors do that write another file and rename it."""
    other = path.with_name(".sandbox.yaml.swp")
    other.write_text("name: b\n")
    other.rename(path)


CHANGES = {
    "written in place": lambda path: path.write_text("name: b\n"),
    "replaced by rename": replace,
    "deleted": lambda path: path.unlink(),
    "made readable": lambda path: path.chmod(0o640),
    "of the same size and time": lambda path: (path.write_text("name: c\n"), os.utime(path, ns=(1, 1))),
}


@pytest.mark.parametrize("how", CHANGES)
def test_a_file_is_noticed_that_was(file, how):
    assert noticed([file], partial(CHANGES[how], file)) == ["sandbox.yaml"]


@pytest.mark.parametrize("below", ["new", "no/such/directory/yet"])
def test_a_file_is_noticed_that_was_not_there(tmp_path, file, below):
    path = tmp_path / below

    def make():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    assert noticed([file, path], make) == [path.name]


def test_a_link_is_noticed_and_what_it_leads_to(tmp_path, file):
    (tmp_path / "elsewhere").mkdir()
    real = tmp_path / "elsewhere/team.yaml"
    real.write_text("1")
    link = tmp_path / "link.yaml"
    link.symlink_to(real)
    assert noticed([link], lambda: replace(real)) == ["link.yaml"]

    def turn():
        link.unlink()
        link.symlink_to(file)

    assert noticed([link], turn) == ["link.yaml"]


def test_whatever_changes_deep_in_a_directory_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "_LOOK_EVERY", 0.1)
    context = tmp_path / "context"
    (context / "a/b").mkdir(parents=True)
    assert noticed([context], (context / "a/b/new").touch) == ["context"]


def test_a_change_before_anybody_waited_is_not_missed(file):
    before = look_at([file])
    replace(file)
    assert noticed([file], lambda: None, before=before) == ["sandbox.yaml"]


def test_without_notices_it_is_looked_at_now_and_then(file, monkeypatch):
    def broken(*_, **__):
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr("watchfiles.awatch", broken)
    assert noticed([file], partial(replace, file)) == ["sandbox.yaml"]


def test_other_files_beside_it_are_no_change(file):
    async def wait():
        with anyio.move_on_after(0.3) as waited:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(changed, [file], look_at([file]))
                file.with_name("other").touch()
        return waited.cancelled_caught

    assert anyio.run(wait)


def test_what_is_watched_is_where_files_are_and_would_be(tmp_path, file):
    (tmp_path / "d").mkdir()
    (tmp_path / "l").symlink_to(tmp_path / "d")
    here = tmp_path.resolve()
    assert places([file, tmp_path / "x"]) == (here,)
    assert places([tmp_path / "no/such/x"]) == (here,)
    assert set(places([tmp_path / "l/x"])) == {tmp_path / "l", here / "d"}
