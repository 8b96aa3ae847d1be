"""A state directory with one sandbox, and supervisors that are processes but run no machine."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

from sandboxfile.applying import machines
from sandboxfile.host.layout import Layout, SandboxPaths
from sandboxfile.host.statedir import ensure_directories, is_locked, write_record
from sandboxfile.images import cache, store
from sandboxfile.images.composing import write_tree
from sandboxfile.images.store import ImageInfo
from sandboxfile.model.desired import Command, DesiredSandbox, Image, Resources
from sandboxfile.model.observed import Applied
from sandboxfile.names import SandboxId

WEB = DesiredSandbox(
    SandboxId("shop", "web"),
    "shell",
    Image("d" * 64),
    resources=Resources(1, 1 << 20, 1 << 20),
    setup=tuple(Command((word,)) for word in ("one", "two", "three")),
)


@dataclass
class Home:
    """`told` is what was reported."""

    layout: Layout
    told: list[str]

    @property
    def paths(self) -> SandboxPaths:
        return self.layout.sandbox(WEB.id)

    def behave(self, text: str) -> None:
        (self.paths.root / "behaviour").write_text(text)

    def asked(self) -> list[str]:
        """Kinds of what the supervisor was asked, in order."""
        path = self.paths.root / "asked"
        return [line.partition("(")[0] for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def keep_image() -> Callable[..., ImageInfo]:
    """`keep_image(layout, digest, disk=, **facts)` puts an image into the cache."""

    def keep(layout: Layout, digest: str, *, disk: bytes = b"disk", **facts: Any) -> ImageInfo:
        async def make(work: Path) -> dict[str, Any]:
            (work / store.DISK).write_bytes(disk)
            write_tree(work / store.TREE, facts.pop("tree", {}))
            return {
                "content": f"sha256:{digest}", "title": "", "config": {}, "layers": [], "builds": [], "sealed": 1.0,
                "epoch": 0, "origin_digest": "", "versions": {}, "template": "dev",
            } | facts  # fmt: skip

        async def build() -> None:
            await cache.build(layout.images, digest, make, report=lambda message: None)

        anyio.run(build)
        found = store.find_image(layout, digest)
        assert found is not None
        return found

    return keep


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    root = Path(tempfile.mkdtemp(prefix="sbx-", dir="/tmp"))
    monkeypatch.setenv("SBX_HOME", str(root))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])]))
    monkeypatch.setattr(machines, "_MODULE", "fake_supervisor")
    layout = Layout.from_environment(os.environ, Path.home(), os.getuid())
    ensure_directories(layout)
    home = Home(layout, [])
    home.paths.root.mkdir(parents=True)
    write_record(home.paths, Applied(WEB, "/p/sandbox.yaml", "2026-01-01T00:00:00+00:00", 0))
    yield home
    _end(home.paths, lambda: is_locked(home.paths.lock))
    shutil.rmtree(root)


def _end(paths: SandboxPaths, runs: Callable[[], bool]) -> None:
    """Kill what a test left running: by the lock that it holds, never by a name."""
    for _ in range(200):
        if not runs():
            return
        machines.kill_holder(paths.lock)
