"""Volumes in the state directory: which there are, who has one, and that one sandbox at a time can."""

import os

import anyio
import pytest

from sandboxfile.errors import BusyError, NotFoundError
from sandboxfile.host import volumes
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import ensure_directories
from sandboxfile.host.volumes import (
    hold_volume,
    lock_volume,
    record_source,
    sweep_volumes,
    volume_holder,
    volume_ids,
    volume_source,
    volume_use,
)
from sandboxfile.names import SandboxId, VolumeId

DATA, WEB, DB = VolumeId("shop", "data"), SandboxId("shop", "web"), SandboxId("shop", "db")


@pytest.fixture
def layout(tmp_path):
    layout = Layout(tmp_path / "state", tmp_path / "cache", tmp_path / "run")
    ensure_directories(layout)
    for id in (DATA, VolumeId("other", "cache")):
        layout.volume(id).root.mkdir(parents=True)
        layout.volume(id).disk.write_bytes(b"x" * 5000)
    return layout


def test_volumes_are_listed_by_project_without_what_is_half_made_or_has_no_disk(layout):
    for name in (".new-more", "Not a name"):
        (layout.volumes / "shop" / name).mkdir()
        (layout.volumes / "shop" / name / "disk.qcow2").touch()
    (layout.volumes / "shop" / "empty").mkdir()
    assert volume_ids(layout) == [VolumeId("other", "cache"), DATA]
    assert volume_ids(layout, "shop") == [DATA]
    assert volume_ids(layout, "nobody") == []
    assert volume_use(layout, DATA) >= 4096
    assert volume_use(layout, VolumeId("shop", "gone")) == 0


def test_who_holds_a_volume_is_told_for_as_long_as_a_copy_of_the_lock_is_open(layout):
    assert volume_holder(layout, DATA) is None
    handle = anyio.run(hold_volume, layout, DATA, WEB)
    copy = os.dup(handle)
    assert volume_holder(layout, DATA) == WEB
    os.close(handle)
    assert volume_holder(layout, DATA) == WEB
    os.close(copy)
    assert volume_holder(layout, DATA) is None
    os.close(anyio.run(hold_volume, layout, DATA, DB))


def test_a_second_holder_waits_for_a_machine_that_is_ending(layout):
    first = anyio.run(hold_volume, layout, DATA, WEB)

    async def both():
        async with anyio.create_task_group() as group:
            group.start_soon(end)
            return await hold_volume(layout, DATA, DB)

    async def end():
        os.close(first)

    second = anyio.run(both)
    assert volume_holder(layout, DATA) == DB
    os.close(second)


def test_a_second_holder_is_told_who_is_the_first(layout, monkeypatch):
    monkeypatch.setattr(volumes, "_PATIENCE", 0.0)
    handle = anyio.run(hold_volume, layout, DATA, WEB)
    with pytest.raises(BusyError) as caught:
        anyio.run(hold_volume, layout, DATA, DB)
    assert "shop/web" in caught.value.message
    assert "sbx stop shop/web" in (caught.value.hint or "")
    os.close(handle)
    os.close(anyio.run(lock_volume, layout, DATA))


def test_a_text_in_the_lock_that_is_no_sandbox_names_nobody(layout, monkeypatch):
    monkeypatch.setattr(volumes, "_PATIENCE", 0.0)
    handle = anyio.run(lock_volume, layout, DATA)
    os.pwrite(handle, b"\0 nobody/../x", 0)
    assert volume_holder(layout, DATA) is None
    with pytest.raises(BusyError):
        anyio.run(hold_volume, layout, DATA, DB)
    os.close(handle)


def test_a_volume_that_does_not_exist_cannot_be_held_and_nothing_is_made(layout):
    with pytest.raises(NotFoundError, match="shop/gone"):
        anyio.run(hold_volume, layout, VolumeId("shop", "gone"), WEB)
    assert not layout.volume(VolumeId("shop", "gone")).root.exists()


def test_a_volume_is_of_the_file_that_was_remembered_and_of_none_that_nobody_can_read(layout):
    assert volume_source(layout, DATA) == ""
    record_source(layout.volume(DATA), "/home/u/shop/sandbox.yaml")
    assert volume_source(layout, DATA) == "/home/u/shop/sandbox.yaml"
    for content in ("", "[]", '{"version": 2, "source": "/f"}', '{"version": 1}', '{"version": 1, "source": 3}'):
        layout.volume(DATA).record.write_text(content)
        assert volume_source(layout, DATA) == ""


def test_a_sweep_removes_what_is_half_made_of_one_project_alone(layout):
    for project in ("shop", "other"):
        (layout.volumes / project / ".new-more").mkdir()
    sweep_volumes(layout, "shop")
    sweep_volumes(layout, "nobody")
    assert not (layout.volumes / "shop" / ".new-more").exists()
    assert (layout.volumes / "other" / ".new-more").exists()
    assert len(volume_ids(layout)) == 2
