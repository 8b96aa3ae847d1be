"""`rename` over sandboxes that exist on disk only."""

from pathlib import Path

import pytest

from sandboxfile import pipeline
from sandboxfile.applying import following
from sandboxfile.cli import editing
from sandboxfile.errors import StaleError
from sandboxfile.host import history, moving
from sandboxfile.host.statedir import ensure_directories, read_record, try_lock
from sandboxfile.model.policy import NO_POLICY
from sandboxfile.names import UNMANAGED, SandboxId

FILE = """\
# our shop
name: shop

sandboxes:
  web: {depends_on: [db]}   # in front
  db:   # the old one
    env: {A: b}
"""
WEB, DB, DATA = (SandboxId("shop", name) for name in ("web", "db", "data"))


@pytest.fixture(autouse=True)
def _no_machines(applied, attached):
    """Nothing here touches one."""


@pytest.fixture
def shop(sbx, layout, project):
    """The two sandboxes of the file, with content on a disk."""
    (project / "sandbox.yaml").write_text(FILE)
    ensure_directories(layout)
    sbx("up", "-y", "--overcommit")
    layout.sandbox(DB).disk.write_text("precious")
    return project / "sandbox.yaml"


def test_it_keeps_its_disk_and_the_file_asks_for_the_same_under_the_new_name(sbx, shop, layout):
    layout.before("shop").write_text("{}")
    said = sbx("rename", "-y", "db", "data").stderr
    assert "+  data:   # the old one" in said
    assert "shop/db is shop/data now" in said
    assert shop.read_text() == FILE.replace("[db]", "[data]").replace("  db:", "  data:")
    paths = layout.sandbox(DATA)
    assert paths.disk.read_text() == "precious"
    assert (read_record(paths).spec.id, read_record(paths).source) == (DATA, str(shop))
    assert not paths.moved_record.exists()
    assert not layout.sandbox(DB).root.exists()
    assert history.read_before(layout, "shop") is None
    assert "loses" not in sbx("plan").stdout


def test_the_records_are_as_the_file_asks_then_also_of_what_waits_for_it_and_of_its_policy(sbx, shop, layout):
    shop.write_text(FILE + "    policy: {allow: [api.example.com]}\n")
    sbx("up", "-y", "--overcommit")
    sbx("rename", "-y", "db", "data")
    asked = {spec.id: spec for spec in pipeline.load(shop, layout).desired.sandboxes}
    assert {id: read_record(layout.sandbox(id)).spec for id in (WEB, DATA)} == asked


def test_what_was_applied_otherwise_than_the_file_asks_stays_in_the_plan(sbx, shop, layout):
    shop.write_text(FILE + "    policy: {allow: [api.example.com]}\n")
    sbx("rename", "-y", "db", "data")
    assert read_record(layout.sandbox(DATA)).spec.policy == NO_POLICY
    assert "data can now reach api.example.com" in sbx("plan").stdout


def test_where_the_file_has_the_new_name_already_the_sandbox_alone_is_renamed(sbx, shop, layout):
    edited = FILE.replace("[db]", "[data]").replace("  db:", "  data:")
    shop.write_text(edited)
    assert "orphan" in sbx("plan").stdout
    said = sbx("rename", "-y", "db", "data").stderr
    assert "the sandbox file has data in its place already" in said
    assert shop.read_text() == edited
    assert layout.sandbox(DATA).disk.read_text() == "precious"
    asked = {spec.id: spec for spec in pipeline.load(shop, layout).desired.sandboxes}
    assert {id: read_record(layout.sandbox(id)).spec for id in (WEB, DATA)} == asked


def test_without_a_terminal_and_without_yes_nothing_happens(sbx, shop, layout):
    assert "--yes" in sbx("rename", "db", "data", code=1).stderr
    assert shop.read_text() == FILE
    assert layout.sandbox(DB).root.exists()


def test_an_unmanaged_one_needs_no_file(sbx, layout):
    sbx("create", "--overcommit", "--name", "box", "shell")
    sbx("rename", "box", "crate")
    assert read_record(layout.sandbox(SandboxId(UNMANAGED, "crate"))).spec.id == SandboxId(UNMANAGED, "crate")
    assert not layout.sandbox(SandboxId(UNMANAGED, "box")).root.exists()


def test_a_name_that_is_taken_or_none_is_refused(sbx, shop):
    assert "shop/web already" in sbx("rename", "-y", "db", "web", code=1).stderr
    assert "no sandbox dbb" in sbx("rename", "-y", "dbb", "data", code=1).stderr
    with pytest.raises(SystemExit, match="64"):
        sbx("rename", "-y", "db", "No!")
    assert shop.read_text() == FILE


def test_a_replica_is_renamed_by_hand(sbx, shop, layout):
    shop.write_text("name: shop\nsandboxes: {web: {scale: 2}}\n")
    sbx("up", "-y", "--overcommit")
    assert "replicas of web" in sbx("rename", "-y", "web-1", "first", code=1).stderr


def test_a_file_that_would_ask_for_something_else_is_not_changed(sbx, shop, layout):
    (shop.parent / "sandbox.override.yaml").write_text("sandboxes: {db: {env: {MORE: x}}}\n")
    sbx("up", "-y", "--overcommit")
    said = sbx("rename", "-y", "db", "data", code=1).stderr
    assert "something else" in said
    assert shop.read_text() == FILE
    assert layout.sandbox(DB).root.exists()


def test_one_that_was_started_meanwhile_is_left_alone(sbx, shop, layout, monkeypatch):
    held = []
    move = moving.move
    monkeypatch.setattr(moving, "move", lambda *given: (held.append(try_lock(layout.sandbox(DB).lock)), move(*given)))
    assert "running" in sbx("rename", "-y", "db", "data", code=1).stderr
    assert shop.read_text() == FILE
    assert read_record(layout.sandbox(DB)).spec.id == DB


def test_a_file_that_was_changed_meanwhile_keeps_its_sandbox(sbx, shop, layout, monkeypatch):
    def fail(proposal):
        raise StaleError("changed")

    monkeypatch.setattr(editing, "write", fail)
    sbx("rename", "-y", "db", "data", code=1)
    assert read_record(layout.sandbox(DB)).spec.id == DB
    assert layout.sandbox(DB).disk.read_text() == "precious"
    assert not layout.sandbox(DB).moved_record.exists()


@pytest.mark.parametrize(
    "place", [(moving, "move"), (editing, "write"), (moving, "settle"), (following, "follow"), (history, "forget")]
)
def test_whatever_it_is_killed_at_the_same_command_finishes_it(sbx, shop, layout, monkeypatch, place):
    class Killed(BaseException):
        pass

    def die(*given):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(*place, die)
        patch.setattr(moving, "move_back", die)  # the dead undo nothing
        sbx("rename", "-y", "db", "data", code=70)
    disks = [layout.sandbox(id).disk for id in (DB, DATA)]
    assert [disk.read_text() for disk in disks if disk.exists()] == ["precious"]
    if layout.sandbox(DB).root.exists() or "  db:" in shop.read_text():
        sbx("rename", "-y", "db", "data")
    assert "  data:" in shop.read_text()
    assert layout.sandbox(DATA).disk.read_text() == "precious"
    assert Path(read_record(layout.sandbox(DATA)).source) == shop
