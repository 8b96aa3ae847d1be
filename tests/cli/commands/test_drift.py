"""`drift`: what it looks at, what it prints, and its exit codes."""

import json

import pytest

FILE = "name: shop\nsandboxes:\n  web: {env: {A: changed-in-the-file}}\n  new: {}\n"


@pytest.fixture
def here(project):
    (project / "sandbox.yaml").write_text(FILE)


def test_nothing_that_was_applied_has_not_moved(sbx, here):
    said = sbx("drift")
    assert said.stdout == "No drift: everything is as it was applied.\n"
    assert json.loads(sbx("drift", "--format", "json").stdout) == {"version": 1, "sandboxes": [], "diagnostics": []}


def test_a_stopped_sandbox_has_moved_and_what_the_file_asks_for_now_does_not_count(sbx, here, stopped):
    stopped("web")
    said = sbx("drift", code=2)
    assert said.stdout.splitlines() == [
        "  ~ sandbox shop/web",
        "      status: stopped (applied: running)",
        "      `sbx up` starts it",
    ]
    assert sbx("drift", "web", code=2).stdout == said.stdout
    [found] = json.loads(sbx("drift", "--format", "json", code=2).stdout)["sandboxes"]
    assert (found["id"], found["status"]) == ("shop/web", "stopped")


def test_of_a_wrong_file_the_name_is_enough(sbx, here, project):
    (project / "sandbox.yaml").write_text("name: shop\nsandboxes: {web: {nah: 1}}\n")
    assert sbx("drift").stdout.startswith("No drift")


def test_a_file_that_says_no_name_is_told_what_is_wrong_with_it(sbx, project):
    (project / "sandbox.yaml").write_text("name: Not A Name\nsandboxes: {web: {nah: 1}}\n")
    said = sbx("drift", code=1).stderr
    assert "which project is meant is unclear" in said
    assert "sandbox.yaml:1:7: " in said
    assert "sandbox.yaml:2:19: Unknown field" in said


def test_a_deleted_disk_is_told_loudly(sbx, here, stopped):
    stopped("web").disk.unlink()
    assert "!! THE DISK IS LOST" in sbx("drift", code=2).stdout


def test_only_what_is_named_is_looked_at(sbx, here, stopped):
    stopped("web")
    stopped("db")
    assert "shop/db" not in sbx("drift", "web", code=2).stdout
    assert "there is no sandbox wbe" in sbx("drift", "wbe", code=1).stderr


def test_a_record_that_cannot_be_used_is_an_error_beside_the_drift(sbx, here, stopped):
    stopped("web").record.write_text("{")
    stopped("db")
    said = sbx("drift", code=1)
    assert "Unreadable sandbox" in said.stderr
    assert "shop/db" in said.stdout
    assert json.loads(sbx("drift", "web", "--format", "json", code=1).stdout)["diagnostics"]
    assert sbx("drift", "web", code=1).stdout == ""


def test_nothing_is_changed_by_looking(sbx, here, stopped, clean_home):
    paths = stopped("web")
    before = {file: file.stat().st_mtime_ns for file in (clean_home / "sbx").rglob("*")}
    sbx("drift", code=2)
    assert {file: file.stat().st_mtime_ns for file in (clean_home / "sbx").rglob("*")} == before
    assert paths.record.exists()
