"""Volumes that exist on disk, and somebody who holds one."""

import os
from contextlib import contextmanager

import anyio
import pytest

from sandboxfile.applying.volumes import create_volume
from sandboxfile.host.statedir import ensure_directories
from sandboxfile.host.volumes import hold_volume
from sandboxfile.names import SandboxId, VolumeId


@pytest.fixture
def make_volume(layout):
    """Make a volume, given as PROJECT/NAME, of so many bytes."""

    def make(id, size):
        ensure_directories(layout)
        anyio.run(create_volume, layout, VolumeId(*id.split("/")), size)

    return make


@pytest.fixture
def holding(layout):
    """A block in which a sandbox has a volume."""

    @contextmanager
    def hold(id, holder):
        handle = anyio.run(hold_volume, layout, VolumeId(*id.split("/")), SandboxId.parse(holder))
        try:
            yield
        finally:
            os.close(handle)

    return hold
