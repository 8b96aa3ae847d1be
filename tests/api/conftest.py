"""A home with a project in it, images in the cache as far as anybody looks, and supervisors without machines."""

import os
from functools import partial
from pathlib import Path

import anyio
import pytest

from sandboxfile import pipeline
from sandboxfile.api import load
from sandboxfile.applying import machines
from sandboxfile.host.directories import sandbox_directories
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import ensure_directories, is_locked
from sandboxfile.images import cache
from sandboxfile.images.boot.platform import platform_digest
from sandboxfile.names import SandboxId

HERE = Path(__file__).resolve().parent
FILE = """\
name: shop
defaults: {resources: {cpus: 1, memory: 128MiB, disk: 1GiB}}
sandboxes:
  web: {ports: ["127.0.0.1:18080:80"]}
"""
IMAGE = {
    **{"content": "sha256:0", "title": "debian:trixie", "template": "shell", "created": "2026-01-01T00:00:00+00:00"},
    **{"config": {}, "layers": [], "builds": [], "sealed": 0.0, "epoch": 0, "origin_digest": "", "versions": {}},
}


def fill(layout: Layout, file: Path) -> None:
    """Put the platform and the images of a file into the cache."""
    ensure_directories(layout)
    loaded = pipeline.load(file, layout)
    assert loaded.desired is not None, loaded.diagnostics

    async def make(names, facts, work):
        for name in names:
            (work / name).write_bytes(bytes(1 << 16))
        return facts

    async def build():
        for digest in {spec.image.digest for spec in loaded.desired.sandboxes}:
            await cache.build(layout.images, digest, partial(make, ["rootfs.ext4", "tree.gz"], IMAGE), report=print)
        names = ["vmlinux", "initrd.cpio", "tools.erofs"]
        await cache.build(layout.platforms, platform_digest(), partial(make, names, {"kernel": "6.1"}), report=print)

    anyio.run(build)


def end_all(layout: Layout) -> None:
    """Kill what a test left running: by the locks that it holds, never by a name."""
    for project, name in sandbox_directories(layout):
        lock = layout.sandbox(SandboxId(project, name)).lock
        for _ in range(200):
            if not is_locked(lock):
                break
            machines.kill_holder(lock)
        assert not is_locked(lock)


@pytest.fixture
def layout(clean_home, monkeypatch):
    monkeypatch.setenv("SBX_HOME", str(clean_home / "sbx"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(clean_home / "config"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parents[1])]))
    monkeypatch.setattr(machines, "_MODULE", "local_supervisor")
    layout = Layout.from_environment(os.environ, Path.home(), os.getuid())
    yield layout
    end_all(layout)


@pytest.fixture
def file(clean_home, layout, monkeypatch):
    place = clean_home / "project"
    place.mkdir()
    monkeypatch.chdir(place)
    path = place / "sandbox.yaml"
    path.write_text(FILE)
    return path


@pytest.fixture
def project(file, layout):
    """Loaded; nothing of it exists, and all that it is built from is there."""
    fill(layout, file)
    return load(file)


@pytest.fixture
def web(project):
    """The sandbox of the project, running."""
    from sandboxfile.api import apply

    apply(project)
    return project["web"]
