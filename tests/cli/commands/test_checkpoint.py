"""`checkpoint`, `restore` and `fork` over sandboxes that exist on disk only; their disks are real."""

import json
import shutil
from dataclasses import replace

import anyio
import pytest

from sandboxfile.cli.commands.fork import forked, left_out
from sandboxfile.host.checkpoints import make_checkpoint
from sandboxfile.host.statedir import ensure_directories, read_record, write_record
from sandboxfile.model.desired import Dependency, DesiredSandbox, Image, Mount, Port, Workspace
from sandboxfile.model.policy import NO_POLICY
from sandboxfile.names import UNMANAGED, SandboxId
from sandboxfile.vm.disks import create_overlay

WEB = SandboxId("shop", "web")


@pytest.fixture
def web(stopped, layout, project):
    """A stopped sandbox that `write` writes on, and `holds` tells what is there."""
    (project / "sandbox.yaml").write_text("name: shop\nsandboxes: {web: {}}\n")
    ensure_directories(layout)
    paths = stopped("web", ports=(Port(8080, 80),))
    paths.disk.unlink()
    paths.tree.write_bytes(b"")
    paths.image.write_bytes(b"{}")
    anyio.run(create_overlay, paths.base, paths.disk, read_record(paths).spec.resources.disk)
    return paths


def write(paths, text):
    with paths.disk.open("ab") as file:
        file.write(text)


def labels(sbx, *names):
    return [row["label"] for row in json.loads(sbx("checkpoint", "--list", *names, "--format", "json").stdout)]


def test_one_is_made_listed_gone_back_to_and_removed(sbx, web):
    write(web, b"first")
    assert "restore shop/web good" in sbx("checkpoint", "web", "good").stderr
    write(web, b"second")
    sbx("checkpoint", "web")
    assert len(labels(sbx)) == 2
    assert "good" in sbx("checkpoint", "--list").stdout
    (row, _) = json.loads(sbx("checkpoint", "--list", "web", "--format", "json").stdout)
    assert row["sandbox"] == "shop/web"
    assert row["size"] > 0
    assert row["automatic"] is False
    sbx("restore", "-y", "web", "good")
    assert b"second" not in web.disk.read_bytes()
    sbx("checkpoint", "--rm", "web", "good")
    assert "good" not in labels(sbx, "web")
    assert "no checkpoint good" in sbx("checkpoint", "--rm", "web", "good", code=1).stderr


def test_labels_of_those_that_plans_make_are_theirs(sbx, web):
    make_checkpoint(web, "before-20261121-223405")
    (row,) = json.loads(sbx("checkpoint", "--list", "web", "--format", "json").stdout)
    assert row["automatic"] is True
    refused = sbx("checkpoint", "web", "before-20261121-223406", code=1).stderr
    assert "such labels are for --checkpoint" in refused
    sbx("checkpoint", "web", "before-upgrade")
    sbx("restore", "-y", "web", "before-20261121-223405")
    sbx("checkpoint", "--rm", "web", "before-20261121-223405")
    assert labels(sbx, "web") == ["before-upgrade"]


def test_what_it_lacks_is_said(sbx, web):
    assert "there are no checkpoints" in sbx("checkpoint", "--list").stderr
    assert "which sandbox" in sbx("checkpoint", code=1).stderr
    assert "which checkpoint" in sbx("checkpoint", "--rm", "web", code=1).stderr
    with pytest.raises(SystemExit, match="64"):
        sbx("checkpoint", "web", "../x")
    assert "no checkpoint none" in sbx("restore", "-y", "web", "none", code=1).stderr


def test_a_label_that_is_taken_is_refused_before_anything_is_said_to_be_done(sbx, web):
    assert "copying the disk" in sbx("checkpoint", "web", "good").stderr
    said = sbx("checkpoint", "web", "good", code=1).stderr
    assert said.startswith("error: there is a checkpoint good already\nhint: choose another label")
    assert labels(sbx) == ["good"]


def test_those_of_a_sandbox_that_is_gone_are_of_use(sbx, web, layout):
    sbx("checkpoint", "web", "good")
    sbx("checkpoint", "web", "more")
    shutil.rmtree(web.root)
    assert labels(sbx) == labels(sbx, "web") == labels(sbx, "shop/web") == ["good", "more"]
    refused = sbx("restore", "-y", "web", "good", code=1).stderr
    assert "no sandbox shop/web any more" in refused
    assert "sbx fork shop/web NEW --checkpoint good" in refused
    sbx("fork", "--no-start", "web", "other", "--checkpoint", "good")
    assert layout.sandbox(SandboxId(UNMANAGED, "other")).disk.exists()
    assert "no sandbox web" in sbx("fork", "--no-start", "web", "another", code=1).stderr
    assert "no sandbox web" in sbx("checkpoint", "web", code=1).stderr
    sbx("checkpoint", "--rm", "web", "good")
    sbx("checkpoint", "--rm", "web", "more")
    assert "no sandbox web" in sbx("checkpoint", "--list", "web", code=1).stderr


def test_the_disk_as_it_is_is_lost_only_when_that_is_meant(sbx, web):
    sbx("checkpoint", "web", "good")
    write(web, b"now")
    assert "--yes" in sbx("restore", "web", "good", code=1).stderr
    write_record(web, replace(read_record(web), spec=replace(read_record(web).spec, protect=True)))
    assert "protect" in sbx("restore", "-y", "web", "good", code=1).stderr
    assert b"now" in web.disk.read_bytes()
    sbx("restore", "-y", "--keep", "web", "good")
    (kept,) = set(labels(sbx, "web")) - {"good"}
    sbx("restore", "-y", "--allow-destroy", "web", kept)
    assert b"now" in web.disk.read_bytes()


def test_a_fork_is_nobodys_file_s_and_lacks_what_only_one_can_have(sbx, web, layout):
    write(web, b"first")
    said = sbx("fork", "--no-start", "web", "other").stderr
    assert "no published ports (127.0.0.1:8080:80)" in said
    paths = layout.sandbox(SandboxId(UNMANAGED, "other"))
    assert b"first" in paths.disk.read_bytes()
    assert read_record(paths).spec.ports == ()
    assert "other already" in sbx("fork", "--no-start", "web", "other", code=1).stderr
    assert "no checkpoint x" in sbx("fork", "--no-start", "--checkpoint", "x", "web", "more", code=1).stderr
    with pytest.raises(SystemExit, match="64"):
        sbx("fork", "web", "No!")
    assert labels(sbx, "web") == []


def test_a_fork_is_not_called_as_a_sandbox_of_the_project_is(sbx, web, stopped, layout):
    """In the project's directory `sbx rm db` would delete the other one."""
    stopped("db")
    assert "db would be mistaken for shop/db" in sbx("fork", "--no-start", "web", "db", code=1).stderr
    assert "web would be mistaken for shop/web" in sbx("fork", "--no-start", "web", "web", code=1).stderr
    assert not layout.sandbox(SandboxId(UNMANAGED, "web")).root.exists()


def test_a_fork_is_held_to_what_is_enforced_now(sbx, web, layout, clean_home):
    place = clean_home / ".config/sandboxfile"
    place.mkdir(parents=True)
    (place / "policy.yaml").write_text("policies: {mine: {enforce: true, block: [x.example.com]}}\n")
    sbx("fork", "--no-start", "web", "other")
    policy = read_record(layout.sandbox(SandboxId(UNMANAGED, "other"))).spec.policy
    assert [(layer.enforced, [rule.pattern for rule in layer.block]) for layer in policy.layers[:-1]] == [
        (True, ["x.example.com"])
    ]


def test_what_a_fork_keeps_and_what_not():
    old = DesiredSandbox(
        WEB, "dev", Image("d"), workspaces=(Workspace("/src", "/src"),), env=(("A", "b"),), ports=(Port(1, 2),),
        mounts=(Mount("/data", "data"),), depends_on=(Dependency("db"),), profiles=("ci",), service="web", protect=True,
    )  # fmt: skip
    new = forked(old, SandboxId(UNMANAGED, "other"), NO_POLICY)
    assert new == DesiredSandbox(
        SandboxId(UNMANAGED, "other"), "dev", Image("d"), workspaces=old.workspaces, env=old.env
    )
    assert (new.profiles, new.service) == ((), "")
    assert list(left_out(old)) == [
        "no published ports (127.0.0.1:1:2); `sbx forward` reaches it", "no volumes (data)", "no `depends_on` (db)",
        "no `protect`",
    ]  # fmt: skip
    assert list(left_out(new)) == []
