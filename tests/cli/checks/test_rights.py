"""What doctor says of rights and room."""

import os
from pathlib import Path

import pytest

from sandboxfile.cli.checks import Check, rights, room, worst
from sandboxfile.host.layout import Layout
from sandboxfile.model.desired import DesiredSandbox, DesiredState, Image, Resources, Workspace
from sandboxfile.names import SandboxId


def layout(place):
    return Layout(place / "state", place / "cache", place / "run")


def by_name(checks):
    return {check.name: check for check in checks}


def test_the_verdict_on_all_is_the_worst():
    ok, warning, missing = (Check("c", verdict, "d") for verdict in ("ok", "warning", "missing"))
    assert worst([]) == "ok"
    assert worst([ok, warning]) == "warning"
    assert worst([missing, warning, ok]) == "missing"


def test_a_runtime_directory_too_deep_for_sockets_is_found(tmp_path):
    deep = tmp_path / ("x" * 90)
    found = by_name(rights.check_rights(layout(deep), os.getuid()))["runtime directory"]
    assert found.verdict == "missing"
    assert "SBX_HOME" in found.fix


@pytest.mark.parametrize(("value", "verdict"), [("tcg", "warning"), ("kvm", "ok")])
def test_a_chosen_accelerator_is_told_and_emulation_is_warned_of(value, verdict, tmp_path, monkeypatch):
    monkeypatch.setenv("SBX_ACCEL", value)
    found = by_name(rights.check_rights(layout(tmp_path), os.getuid()))["accelerator"]
    assert found.verdict == verdict


def test_an_ordinary_user_without_subordinate_ids_is_told_the_command(monkeypatch):
    monkeypatch.setattr(rights, "_content", lambda path: "root:100000:65536\nnobody:5:10")
    missing = rights._subordinate_ids(65534)
    assert [check.verdict for check in missing] == ["missing", "missing"]
    assert missing[0].fix.startswith("sudo usermod --add-subuids 100000-165535 nobody")
    monkeypatch.setattr(rights, "_content", lambda path: "nobody:100000:65536")
    assert [check.verdict for check in rights._subordinate_ids(65534)] == ["ok", "ok"]


def project(*sandboxes):
    return DesiredState("p", "/p/sandbox.yaml", sandboxes)


def test_sandboxes_that_do_not_fit_into_memory_are_warned_of(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "available_memory", lambda: 4 << 30)
    box = DesiredSandbox(SandboxId("p", "a"), "shell", Image("d" * 64), resources=Resources(1, 3 << 30))
    assert by_name(room.check_room(layout(tmp_path), project(box)))["memory"].verdict == "ok"
    twice = by_name(room.check_room(layout(tmp_path), project(box, box)))["memory"]
    assert twice.verdict == "warning"
    assert "6.4 GiB" in twice.detail


def test_available_memory_is_what_the_kernel_says():
    assert 0 < room.available_memory() < 1 << 50


def test_a_workspace_that_is_missing_is_found(tmp_path):
    spaces = (Workspace(str(tmp_path), "/a"), Workspace(str(tmp_path / "nowhere"), "/b"))
    box = DesiredSandbox(SandboxId("p", "a"), "shell", Image("d" * 64), workspaces=spaces)
    found = by_name(room.check_room(layout(tmp_path), project(box)))
    assert found[f"workspace {tmp_path}"].verdict == "ok"
    assert found[f"workspace {tmp_path}/nowhere"].verdict == "missing"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
def test_a_workspace_that_may_not_be_written_is_found(tmp_path):
    closed = Path(tmp_path / "closed")
    closed.mkdir(0o500)
    box = DesiredSandbox(SandboxId("p", "a"), "shell", Image("d" * 64), workspaces=(Workspace(str(closed), "/a"),))
    assert by_name(room.check_room(layout(tmp_path), project(box)))[f"workspace {closed}"].verdict == "missing"
