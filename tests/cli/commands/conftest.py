"""Images, layers, saved templates and sandboxes that exist on disk only, as commands find them."""

import gzip
import io
import os
import shutil
import tarfile
import time
from dataclasses import replace
from types import SimpleNamespace

import anyio
import pytest

from sandboxfile import pipeline
from sandboxfile.agents import SERVICES, find_service
from sandboxfile.cli.main import run as main_run
from sandboxfile.cli.views.console import Console
from sandboxfile.host.statedir import read_record, write_record
from sandboxfile.images import cache, saved, store
from sandboxfile.images.config import ImageConfig
from sandboxfile.images.layers import tars
from sandboxfile.images.layers.tree import Entry, content_digest, encode
from sandboxfile.model.events import Outcome
from sandboxfile.model.observed import Applied
from sandboxfile.model.plan import CreateSandbox, DeleteSandbox, UpdateRecord

MIB = 1 << 20
SERVICE_VARIABLES = [variable for name in SERVICES for variable in find_service(name).variables]


@pytest.fixture
def age(layout):
    """Make an entry of the cache look as if nothing had used it for some days."""

    def change(path, days):
        past = time.time() - days * 86400
        os.utime(path / cache.MANIFEST, (past, past))

    return change


@pytest.fixture
def make_layer(layout):
    """Put a layer into the cache; gives its directory. With `files` it is a tar of these: content by path."""

    def make(key, parent="", size=MIB, files=None):
        async def fill(work):
            if files is None:
                (work / store.TAR).write_bytes(b"x" * size)
            else:
                await tars.pack(tar_of(files, work / ".layer.tar"), work / store.TAR)
            usual = {"title": f"layer {key}", "parent": parent, "config": {}, "epoch": 0}
            return {**usual, "origin_digest": "", "versions": {}}

        path, _ = anyio.run(_build, layout.layers, key, fill)
        return path

    return make


@pytest.fixture
def make_image(layout):
    """Put an image into the cache. `files`: path and digest of what it holds."""

    def make(digest, *layers, files=(("etc/passwd", "0" * 64),), title="debian:trixie + git", **facts):
        tree = {path: Entry(path, "file", 0o644, size=7, digest=content) for path, content in files}

        async def fill(work):
            (work / store.DISK).write_bytes(b"x" * MIB)
            (work / store.TREE).write_bytes(gzip.compress(encode(tree)))
            usual = {
                "content": content_digest(tree),
                "title": title,
                "config": ImageConfig((("LANG", "C.UTF-8"),), "node", "/srv", ("serve",)).to_json(),
                "layers": list(layers),
                "builds": [store.find_layer(layout, key).build for key in layers],
                "sealed": 0.0,
                "epoch": 0,
                "origin_digest": "",
                "versions": {"apt": [["git", "1:2.47.3-0+deb13u1"]]},
                "template": "dev",
            }
            return usual | facts

        path, _ = anyio.run(_build, layout.images, digest, fill)
        return path

    return make


@pytest.fixture
def make_saved(layout, tmp_path):
    """Keep a saved template with one layer."""

    def make(tag, content=b"layer"):
        layer = tmp_path / f"{tag}.tar"
        layer.write_bytes(content)
        return saved.save_layers(layout, tag, [layer], ImageConfig(), {}, title="of shop/web")

    return make


def tar_of(files, path):
    """A tar of plain files."""
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


async def _build(root, digest, fill):
    return await cache.build(root, digest, fill, report=lambda message: None)


@pytest.fixture
def applied(layout, monkeypatch):
    """Plans that are carried out on the disk alone: sandboxes come, stopped, and go. Gives the plans."""
    plans = []

    async def apply_plan(plan, given, emit, **options):
        plans.append(plan)
        for step in plan.steps:
            carry_out(step.operation, layout)
        return Outcome(tuple(step.key for step in plan.steps), (), ())

    monkeypatch.setattr(pipeline, "apply_plan", apply_plan)
    return plans


def carry_out(operation, layout):
    if isinstance(operation, CreateSandbox):
        paths = layout.sandbox(operation.spec.id)
        paths.root.mkdir(parents=True, mode=0o700)
        write_record(paths, Applied(operation.spec, operation.source, "2026-01-02T03:04:05+00:00", 0))
        for file in (paths.disk, paths.base, paths.lock):
            file.touch()
    elif isinstance(operation, DeleteSandbox):
        shutil.rmtree(layout.sandbox(operation.id).root)
    elif isinstance(operation, UpdateRecord):
        paths = layout.sandbox(operation.spec.id)
        write_record(paths, replace(read_record(paths), spec=operation.spec, source=operation.source))


@pytest.fixture
def attached(monkeypatch):
    """Terminals that are at their end at once, with exit code 7. Gives what was asked for."""
    from sandboxfile.cli.commands import run

    calls = []

    def attach(id, arguments, env, **options):
        calls.append((str(id), list(arguments), dict(env), options["detach"]))
        return 7

    monkeypatch.setattr(run, "attach", attach)
    return calls


@pytest.fixture
def sbx(project, environment, monkeypatch):
    """Run `sbx` in this process, which must give `code`; gives what it said."""
    for name in SERVICE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(project)

    def call(*words, code=0):
        console = Console(io.StringIO(), io.StringIO(), io.StringIO())
        found = main_run(words, console)
        assert found == code, console.err.getvalue()
        return SimpleNamespace(stdout=console.out.getvalue(), stderr=console.err.getvalue())

    return call
