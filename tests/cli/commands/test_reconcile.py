"""`sbx reconcile` on a real repository, as far as no machine is needed: what is refused and why, status, the unit."""

import io
import json
import os
import re
import shutil
import stat
import subprocess
import threading
from dataclasses import replace

import anyio
import anyio.to_thread
import pytest

from sandboxfile.cli.reconciling.work import HostWork, Settings
from sandboxfile.cli.views.console import Console
from sandboxfile.errors import SandboxfileError
from sandboxfile.host.reconcilers import prepare
from sandboxfile.host.statedir import read_record, try_lock, write_record
from sandboxfile.host.trust import expose
from sandboxfile.model.desired import DesiredSandbox, Image
from sandboxfile.model.events import Outcome, StepStarted
from sandboxfile.model.observed import Applied
from sandboxfile.model.plan import Plan
from sandboxfile.names import SandboxId

EMPTY = "name: shop\nsandboxes: {}\n"


@pytest.fixture
def repository(clean_home):
    """`push(files)` makes a commit of exactly these; gives its id."""
    work = clean_home / "shop"
    work.mkdir()

    def git(*words):
        argv = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", *words]
        done = subprocess.run(argv, cwd=work, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def push(files):
        git("rm", "-rqf", "--ignore-unmatch", ".")
        for name, content in files.items():
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            if content.startswith("-> "):
                (work / name).symlink_to(content[3:])
            else:
                (work / name).write_text(content)
        git("add", "-A")
        git("commit", "-q", "--allow-empty", "-m", "x")
        return git("rev-parse", "HEAD")

    git("init", "-q", "-b", "main")
    push.work = work
    return push


@pytest.fixture
def turn(cli, repository):
    """One turn."""

    def call(*words, code=0, **variables):
        return cli("reconcile", "--git", str(repository.work), "--once", *words, code=code, **variables)

    return call


@pytest.fixture
def status(layout):
    def read(name="shop"):
        return json.loads(layout.reconciler(name).status.read_bytes())

    return read


def test_a_commit_is_applied_and_the_tree_is_there(turn, repository, status, layout):
    commit = repository({"sandbox.yaml": EMPTY, "src/a": "1"})
    turn()
    found = status()
    assert (found["version"], found["state"], found["applied"]) == (1, "applied", commit)
    assert (layout.reconciler("shop").tree / "src/a").read_text() == "1"
    assert not (layout.reconciler("shop").tree / ".git").exists()
    assert stat.S_IMODE(layout.reconciler("shop").tree.stat().st_mode) == 0o700


def test_the_repository_is_never_written_to(turn, repository, status):
    repository({"sandbox.yaml": EMPTY})

    def everything():
        return {path: path.stat().st_mtime_ns for path in repository.work.rglob("*")}

    before = everything()
    turn()
    assert everything() == before


BAD = {
    "a syntax error": ({"sandbox.yaml": "sandboxes: [\n"}, "file", "sandbox.yaml:2:1"),
    "no file": ({"other.yaml": EMPTY}, "file", "there is no such file in the commit"),
    "an include from outside": (
        {"sandbox.yaml": "include: [OUTSIDE/team.yaml]\n" + EMPTY},
        "file",
        "not in the commit, and only what is can be loaded: OUTSIDE/team.yaml",
    ),
    "an include at home": ({"sandbox.yaml": "include: [~/team.yaml]\n" + EMPTY}, "file", "not in the commit"),
    "an include above": ({"sandbox.yaml": "include: [../../../../team.yaml]\n" + EMPTY}, "file", "not in the commit"),
    "an include that is a link to outside": (
        {"sandbox.yaml": "include: [link.yaml]\n" + EMPTY, "link.yaml": "-> OUTSIDE/team.yaml"},
        "file",
        "no such file",
    ),
    "an env_file from outside": (
        {"sandbox.yaml": "sandboxes: {web: {env_file: OUTSIDE/variables}}\n"},
        "file",
        "not in the commit",
    ),
    "a failing policy test": (
        {"sandbox.yaml": "policies: {p: {tests: {allow: ['https://a.example.com/']}}}\n" + EMPTY},
        "policy-test",
        "sandbox.yaml:1:",
    ),
    "a workspace that gives our own away": (
        {"sandbox.yaml": "sandboxes: {web: {workspaces: ['..']}}\n"},
        "file",
        "would give away what reconcilers check out",
    ),
    "a template that is not locked": (
        {"sandbox.yaml": "templates: {t: {base: shell, packages: {apt: [file]}}}\nsandboxes: {web: {template: t}}\n"},
        "file",
        "lock",
    ),
}


def test_what_is_in_a_file_of_this_host_is_not_told_by_what_is_wrong_with_it(turn, repository, status, clean_home):
    (clean_home / "key.yaml").write_text("sandboxes: {web: {idle_stop: hunter2}}\n")
    repository({"sandbox.yaml": "include: [~/key.yaml]\n" + EMPTY})
    turn(code=1)
    assert "not in the commit" in status()["message"]
    assert "hunter2" not in status()["message"]


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_commit_is_not_applied_and_the_status_says_why(turn, repository, status, clean_home, bad):
    outside = clean_home / "outside"
    outside.mkdir()
    for name, text in {"outside/team.yaml": "{}", "team.yaml": "{}", "outside/variables": "A=b"}.items():
        (clean_home / name).write_text(text)
    first = repository({"sandbox.yaml": EMPTY})
    turn()
    files, reason, message = BAD[bad]
    commit = repository({name: text.replace("OUTSIDE", str(outside)) for name, text in files.items()})
    said = turn(*(["--frozen"] if "locked" in bad else []), code=1).stderr
    found = status()
    assert (found["state"], found["reason"], found["culprit"], found["applied"]) == ("failed", reason, commit, first)
    message = message.replace("OUTSIDE", str(outside))
    assert message in found["message"]
    assert message in said
    assert "Traceback" not in said


def test_a_repository_that_is_not_there_is_a_failure_of_the_turn(cli, status, clean_home):
    said = cli("reconcile", "--git", str(clean_home / "nowhere"), "--once", code=1).stderr
    assert "cannot fetch main of" in said
    assert "does not appear to be a git repository" in status("nowhere")["message"] + said
    assert "git ended with exit code 128" in status("nowhere")["message"]
    assert (status("nowhere")["reason"], status("nowhere")["commit"]) == ("fetch", "")


def test_without_a_name_the_status_is_that_of_all_of_them(cli, turn, repository, clean_home):
    repository({"sandbox.yaml": EMPTY})
    turn()
    turn("--name", "other")
    said = cli("reconcile", "--status").stdout
    assert [line.split()[1] for line in said.splitlines() if line.startswith("name ")] == ["other", "shop"]
    assert [line.split()[2] for line in said.splitlines() if line.startswith("next ")] == ["-", "-"]
    cli("reconcile", "--git", str(clean_home / "nowhere"), "--once", code=1)
    assert cli("reconcile", "--status", code=1).stdout.count("follows ") == 3


def test_signatures_fail_closed(turn, repository, status):
    repository({"sandbox.yaml": EMPTY})
    turn("--verify-signatures", code=1)
    assert (status()["reason"], status()["applied"]) == ("signature", "")


def test_what_widens_has_an_exit_code_of_its_own(turn, repository, status):
    repository({"sandbox.yaml": "sandboxes: {web: {policy: {allow: [a.example.com]}}}\n"})
    said = turn("--deny-widening", code=3, SBX_ACCEL="tcg")
    assert "a.example.com" in said.stderr
    assert (status()["reason"], status()["begun"]) == ("widening", "")


WIDE = "sandboxes: {web: {policy: {mode: allow}}}\n"


@pytest.mark.parametrize("other", [("--path", "wide.yaml"), ("--ref", "wide"), ("--profile", "more")])
def test_what_was_let_through_lets_nothing_else_through(turn, repository, status, other):
    text = EMPTY.replace("{}", "{web: {profiles: [more], policy: {mode: allow}}}")
    repository({"sandbox.yaml": text, "wide.yaml": "name: shop\n" + WIDE})
    subprocess.run(["git", "branch", "wide"], cwd=repository.work, check=True)
    turn("--deny-widening")
    if other[0] == "--ref":
        subprocess.run(["git", "checkout", "-q", "wide"], cwd=repository.work, check=True)
        repository({"sandbox.yaml": WIDE})
    turn("--deny-widening", *other, code=3, SBX_ACCEL="tcg")
    assert (status()["reason"], status()["begun"]) == ("widening", "")
    assert "is begun" not in turn("--status", *other, code=1).stdout


# --- a repository that an agent can write to ---------------------------------------------------------------------


def test_a_repository_that_a_sandbox_can_write_to_is_followed_with_a_guard_only(turn, repository, status, layout):
    repository({"sandbox.yaml": EMPTY})
    expose(layout, dict.fromkeys([str(repository.work)], frozenset()))
    said = turn(code=1).stderr
    assert f"{repository.work}/.git is in {repository.work}, which a sandbox can write to" in said
    assert "--verify-signatures or --deny-widening" in said
    assert not layout.reconciler("shop").status.exists()
    turn("--verify-signatures", code=1)
    assert status()["reason"] == "signature"
    turn("--deny-widening")
    assert status()["state"] == "applied"


def test_nor_is_a_unit_made_for_it(cli, repository, layout, clean_home):
    expose(layout, dict.fromkeys([str(clean_home)], frozenset()))
    asked = ("reconcile", "--install", "--git", f"file://{repository.work}")
    assert "which a sandbox can write to" in cli(*asked, code=1).stderr
    cli(*asked, "--deny-widening")


def test_one_that_it_can_write_beside_is_followed(turn, repository, layout):
    repository({"sandbox.yaml": EMPTY})
    expose(layout, dict.fromkeys([str(repository.work / "src")], frozenset()))
    turn()


def test_one_that_a_sandbox_gets_while_it_is_followed_is_followed_no_longer(repository, layout):
    repository({"sandbox.yaml": EMPTY})
    said = [io.StringIO() for _ in range(3)]
    paths = prepare(layout.reconciler("shop"))
    work = HostWork(Settings(str(repository.work), "main", "sandbox.yaml"), layout, paths, Console(*said))
    work.clone.prepare()
    assert anyio.run(work.fetch)
    expose(layout, dict.fromkeys([str(repository.work)], frozenset()))
    with pytest.raises(SandboxfileError, match="an agent could decide"):
        anyio.run(work.fetch)


def test_a_link_to_a_workspace_that_an_agent_can_turn_is_not_followed(turn, repository, status, layout, clean_home):
    theirs, keys = clean_home / "theirs", clean_home / "keys"
    theirs.mkdir()
    keys.mkdir()
    (theirs / "data").symlink_to(keys)
    expose(layout, {str(theirs): frozenset()})
    repository({"sandbox.yaml": f"sandboxes: {{web: {{workspaces: ['{theirs}/data:ro']}}}}\n"})
    turn(code=1)
    assert status()["reason"] == "file"
    assert f"{theirs}/data: new, in the workspace {theirs}" in status()["message"]


def test_a_commit_does_not_take_a_project_over_whose_file_was_moved(turn, repository, status, layout, clean_home):
    id = SandboxId("prod", "db")
    layout.sandbox(id).root.mkdir(parents=True)
    gone = str(clean_home / "moved since/sandbox.yaml")
    write_record(
        layout.sandbox(id), Applied(DesiredSandbox(id, "shell", Image("d")), gone, "2026-01-02T03:04:05+00:00", 0)
    )
    repository({"sandbox.yaml": "name: prod\nsandboxes: {}\n"})
    turn("--remove-orphans", code=1)
    assert layout.sandbox(id).root.exists()
    assert (status()["reason"], gone in status()["message"]) == ("file", True)


def test_what_a_commit_says_may_take_its_time_to_read_and_the_end_is_heard_meanwhile(repository, layout, monkeypatch):
    begun, released = threading.Event(), threading.Event()

    def load_commit(*args, **options):
        begun.set()
        released.wait(60)

    monkeypatch.setattr("sandboxfile.cli.reconciling.work.load_commit", load_commit)
    repository({"sandbox.yaml": EMPTY})
    said = [io.StringIO() for _ in range(3)]
    paths = prepare(layout.reconciler("shop"))
    work = HostWork(Settings(str(repository.work), "main", "sandbox.yaml"), layout, paths, Console(*said))
    work.clone.prepare()

    async def turn():
        commit = await work.fetch()
        async with anyio.create_task_group() as group:
            group.start_soon(work.check, commit)
            assert await anyio.to_thread.run_sync(begun.wait, 60)
            group.cancel_scope.cancel()  # as TERM does
        assert group.cancel_scope.cancel_called
        assert not released.is_set()
        released.set()

    anyio.run(turn)


def test_each_line_of_its_log_says_what_it_is_about(repository, layout, monkeypatch):
    async def apply_plan(plan, layout, emit, **options):
        emit(StepStarted("start web", "it is stopped"))
        return Outcome((), (), ())

    monkeypatch.setattr("sandboxfile.pipeline.apply_plan", apply_plan)
    said = [io.StringIO() for _ in range(3)]
    paths = prepare(layout.reconciler("shop"))
    work = HostWork(Settings(str(repository.work), "main", "sandbox.yaml"), layout, paths, Console(*said))
    anyio.run(work.apply, Plan("shop", (), ()))
    assert said[1].getvalue() == "  start web: it is stopped\n"


def test_a_secret_that_nobody_approved_stops_it(turn, repository, status):
    text = "secrets: {key: {env: KEY, inject: [{host: a.example.com, header: X, value: '{secret}'}]}}\n"
    repository({"sandbox.yaml": text + "sandboxes: {web: {secrets: [key], policy: {allow: [a.example.com]}}}\n"})
    said = turn(code=1, SBX_ACCEL="tcg", KEY="the-value")
    assert status()["reason"] == "secrets", status()
    assert "sbx secret approve key a.example.com:443" in status()["message"]
    assert "the-value" not in json.dumps(status()) + said.stderr


def test_suspended_it_only_says_so(cli, turn, repository, status):
    first = repository({"sandbox.yaml": EMPTY})
    turn()
    cli("reconcile", "--suspend")
    assert status()["suspended"] is True
    repository({"sandbox.yaml": EMPTY, "more": ""})
    turn()
    assert status()["applied"] == first
    said = cli("reconcile", "--status").stdout
    assert "suspended; applied" in said
    assert re.search(r"next attempt +-$", said, re.M)
    cli("reconcile", "--resume")
    turn()
    assert (status()["suspended"], status()["applied"] != first) == (False, True)


def test_status_says_where_it_stands_and_fails_when_it_does(cli, turn, repository):
    repository({"sandbox.yaml": EMPTY})
    turn()
    said = cli("reconcile", "--status", "--format", "json").stdout
    assert {"name": "shop", "state": "applied", "running": False, "suspended": False}.items() <= json.loads(
        said
    ).items()
    repository({"sandbox.yaml": "x: ["})
    turn(code=1)
    said = cli("reconcile", "--status", code=1).stdout
    assert "because         sandbox.yaml:1:" in said
    assert "failed (file of " in said


def test_one_that_does_not_run_is_forgotten_and_asked_for_all_again(cli, turn, repository, layout, clean_home):
    cli("reconcile", "--git", str(clean_home / "nowhere"), "--once", code=1)
    assert "nowhere" in cli("reconcile", "--status", code=1).stdout
    assert cli("reconcile", "--forget", "nowhere").stderr == "nowhere is forgotten\n"
    assert "there is no reconciler\nhint: sbx reconcile --git REPO" in cli("reconcile", "--status", code=1).stderr
    assert "there is no reconciler nowhere" in cli("reconcile", "--forget", "nowhere", code=1).stderr
    paths = layout.reconciler("nowhere")
    assert not any(place.exists() for place in (paths.root, paths.source, paths.tree))
    assert "there is no reconciler" in cli("reconcile", "--forget", "nowhere", code=1).stderr
    assert "is no name" in cli("reconcile", "--forget", "../shop", code=1).stderr


def test_one_that_runs_or_keeps_something_or_is_started_by_a_unit_is_not_forgotten(
    cli, turn, repository, layout, stopped, systemctl
):
    repository({"sandbox.yaml": EMPTY, "src/a": "1"})
    turn()
    paths = layout.reconciler("shop")
    handle = try_lock(paths.lock)
    assert "the reconciler shop is at work" in cli("reconcile", "--forget", "shop", code=1).stderr
    os.close(handle)
    web = stopped("web")
    write_record(web, replace(read_record(web), source=str(paths.source / "sandbox.yaml")))
    assert "shop/web: of the reconciler shop" in cli("reconcile", "--forget", "shop", code=1).stderr
    shutil.rmtree(web.root)
    cli("reconcile", "--install", "--git", str(repository.work), PATH=systemctl[1])
    assert "--uninstall" in cli("reconcile", "--forget", "shop", code=1).stderr
    cli("reconcile", "--uninstall", PATH=systemctl[1])
    assert paths.status.exists()
    assert f"its tree stays, with what was written there: {paths.tree}" in cli("reconcile", "--forget", "shop").stderr
    assert not paths.root.exists()
    assert not paths.source.exists()
    assert (paths.tree / "src/a").exists()


def test_a_turn_says_applied_only_when_something_was(turn, repository, cli):
    repository({"sandbox.yaml": EMPTY})
    assert "nothing to do: all is as " in turn().stderr
    assert "1 turn, 1 commit, 0 applies" in cli("reconcile", "--status").stdout


@pytest.mark.parametrize("option", ["--file", "--env-file"])
def test_files_of_this_host_are_refused(turn, option, repository):
    repository({"sandbox.yaml": EMPTY})
    assert "--path FILE" in turn(option, "x.yaml", code=1).stderr


def test_there_is_one_of_a_name_at_a_time(turn, repository, layout):
    repository({"sandbox.yaml": EMPTY})
    turn()
    handle = try_lock(layout.reconciler("shop").lock)
    try:
        assert "the reconciler shop is at work already" in turn(code=1).stderr
    finally:
        os.close(handle)


def test_a_name_follows_one_repository(cli, turn, repository, clean_home):
    repository({"sandbox.yaml": EMPTY})
    turn()
    said = cli("reconcile", "--git", str(clean_home / "other"), "--name", "shop", "--once", code=1).stderr
    assert f"the reconciler shop follows {repository.work}" in said


def test_which_one_is_meant_must_be_clear(cli, turn, repository):
    assert "--git REPO" in cli("reconcile", code=1).stderr
    assert "there is no reconciler\nhint: sbx reconcile --git REPO" in cli("reconcile", "--status", code=1).stderr
    repository({"sandbox.yaml": EMPTY})
    turn("--name", "one")
    turn("--name", "two")
    assert "--name: one, two" in cli("reconcile", "--suspend", code=1).stderr
    assert "--name: one, two" in cli("reconcile", "--status", "--format", "json", code=1).stderr
    assert "there is no reconciler three" in cli("reconcile", "--status", "--name", "three", code=1).stderr


@pytest.mark.parametrize("option", ["--path=../x.yaml", "--path=/etc/x.yaml", "--ref=-x", "--name=A B"])
def test_what_leads_elsewhere_is_refused(turn, repository, option):
    turn(option, code=1)


# --- the unit ----------------------------------------------------------------------------------------------------


@pytest.fixture
def systemctl(clean_home):
    """A systemctl that writes down what it was asked; gives that file and the PATH to find it by."""
    place = clean_home / "bin"
    place.mkdir()
    log = clean_home / "asked"
    (place / "systemctl").write_text(f'#!/bin/sh\necho "$*" >> {log}\n')
    (place / "systemctl").chmod(0o755)
    return log, f"{place}:{os.environ['PATH']}"


def test_a_unit_is_written_that_starts_the_same_by_absolute_paths(cli, clean_home, systemctl):
    log, path = systemctl
    said = cli(
        *("reconcile", "--install", "--git", "../shop", "--ref", "release/1", "--interval", "5m"),
        *("--deny-widening", "--frozen", "--profile", "ci"),
        PATH=path,
    )
    unit = clean_home / ".config/systemd/user/sbx-reconcile-shop.service"
    assert said.stdout.strip() == str(unit)
    assert "systemctl --user enable --now sbx-reconcile-shop.service" in said.stderr
    [line] = [line for line in unit.read_text().splitlines() if line.startswith("ExecStart=")]
    assert line.startswith('ExecStart="/')
    for word in (f"--git={clean_home}/shop", "--ref=release/1", "--interval=300000ms", "--frozen", "--profile=ci"):
        assert f'"{word}"' in line
    assert "--verify-signatures" not in line
    assert f'Environment="SBX_HOME={clean_home}/sbx"' in unit.read_text()
    assert log.read_text().splitlines() == ["--user show-environment", "--user daemon-reload"]


def test_with_now_it_is_started_and_it_can_be_taken_away(cli, clean_home, systemctl):
    log, path = systemctl
    cli("reconcile", "--install", "--git", "/srv/shop.git", "--now", PATH=path)
    assert "--user enable --now sbx-reconcile-shop.service" in log.read_text()
    cli("reconcile", "--uninstall", "--name", "shop", PATH=path)
    assert "--user disable --now sbx-reconcile-shop.service" in log.read_text()
    assert not (clean_home / ".config/systemd/user/sbx-reconcile-shop.service").exists()
    assert "there is no unit" in cli("reconcile", "--uninstall", "--name", "shop", PATH=path, code=1).stderr
