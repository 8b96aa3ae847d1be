"""Volumes from a program: listed as they are, deleted when nobody has them."""

import os
from functools import partial

import anyio
import pytest

from sandboxfile.api import PlanRefused, Sandbox, SandboxfileError, Volume, apply, load, plan, volumes
from sandboxfile.applying.volumes import create_volume
from sandboxfile.errors import NotFoundError
from sandboxfile.host.statedir import ensure_directories
from sandboxfile.host.volumes import hold_volume, volume_ids
from sandboxfile.names import SandboxId, VolumeId

from .conftest import FILE

MIB = 1 << 20
CACHE, OTHER = VolumeId("shop", "cache"), VolumeId("other", "data")


@pytest.fixture
def disks(layout):
    """Two volumes, of two projects."""
    ensure_directories(layout)
    for id in (CACHE, OTHER):
        anyio.run(create_volume, layout, id, 64 * MIB)


def test_they_are_listed_with_their_sizes_and_who_has_them(disks, project, layout):
    web = SandboxId("shop", "web")
    handle = anyio.run(partial(hold_volume, layout, CACHE, web))
    try:
        other, cache = volumes()
        assert volumes(project) == volumes("shop") == [cache]
    finally:
        os.close(handle)
    assert (str(other), other.name, other.size, other.holder) == ("other/data", "data", 64 * MIB, None)
    assert cache.holder == Sandbox(web)
    assert 0 < cache.used < 64 * MIB
    layout.volume(OTHER).disk.write_text("no disk")
    assert volumes("other") == [Volume(OTHER, None, volumes("other")[0].used, None)]
    assert volumes("nobody") == []


def test_one_is_deleted_with_what_is_on_it_and_is_gone_then(disks, layout):
    [data] = volumes("other")
    data.remove()
    assert volume_ids(layout) == [CACHE]
    with pytest.raises(NotFoundError, match="there is no volume other/data"):
        data.remove()


def test_one_that_belongs_to_a_sandbox_stays(file, project, layout):
    apply(project)
    text = FILE.replace('18080:80"]', '18080:80"], volumes: ["cache:/cache"]') + "volumes: {cache: {size: 1GiB}}\n"
    file.write_text(text)
    apply(load(file))
    project["web"].stop()
    [cache] = volumes(project)
    with pytest.raises(PlanRefused, match="belongs to the sandbox web"):
        cache.remove()
    assert volumes() == [cache]
    file.write_text(text.replace("1GiB", "2GiB"))
    apply(load(file))
    assert [each.size for each in volumes()] == [2048 * MIB]
    apply(plan(project, goal="down"))
    volumes()[0].remove()
    assert volumes() == []


def test_one_that_somebody_has_is_not_deleted(disks, layout):
    handle = anyio.run(partial(hold_volume, layout, OTHER, SandboxId("other", "db")))
    try:
        with pytest.raises(SandboxfileError, match="other/data is in use by the sandbox other/db"):
            volumes("other")[0].remove()
    finally:
        os.close(handle)
    assert len(volumes("other")) == 1
