"""The whole road without a machine: what each stage hands on, who may apply, and what a killed apply leaves."""

import hashlib
import os
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import pytest

from sandboxfile import pipeline
from sandboxfile.applying import machines, storage
from sandboxfile.errors import BusyError, HostError, NotFoundError, StaleError, StateError
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import ensure_directories, hold_lock, is_locked, read_record, write_record
from sandboxfile.host.trust import approve, expose, find_doubts, read_trust
from sandboxfile.host.volumes import record_source
from sandboxfile.images import cache
from sandboxfile.images.boot.platform import platform_digest
from sandboxfile.model.desired import FileContent
from sandboxfile.model.events import StepFailed, StepFinished, StepStarted
from sandboxfile.model.lock import Lock, encode_lock
from sandboxfile.model.observed import Applied
from sandboxfile.model.plan import PlanOptions
from sandboxfile.names import UNMANAGED, SandboxId, VolumeId

FILE = """\
name: shop
sandboxes:
  api: {protect: true}
  web: {workspaces: [.], env: {A: "1"}}
"""
WEB, API = SandboxId("shop", "web"), SandboxId("shop", "api")


@pytest.fixture
def layout(clean_home):
    return Layout(clean_home / "state", clean_home / "cache", clean_home / "run")


@pytest.fixture
def file(clean_home):
    path = clean_home / "project" / "sandbox.yaml"
    path.parent.mkdir()
    path.write_text(FILE)
    return path


def load(file, layout):
    loaded = pipeline.load(file, layout)
    assert loaded.desired is not None, loaded.diagnostics
    return loaded.desired


def plan(file, layout, **options):
    return anyio.run(pipeline.make_plan, load(file, layout), layout, PlanOptions(**options))


def apply(plan, layout, emit=lambda event: None, **options):
    return anyio.run(partial(pipeline.apply_plan, plan, layout, emit, **options))


IMAGE = {
    **{"content": "sha256:0", "title": "debian:trixie", "template": "shell", "created": "2026-01-01T00:00:00+00:00"},
    **{"config": {}, "layers": [], "builds": [], "sealed": 0.0, "epoch": 0, "origin_digest": "", "versions": {}},
}


@pytest.fixture
def filled(layout, file):
    """The images and the platform of the file are in the cache, as far as `plan` looks."""
    ensure_directories(layout)

    async def make(names, facts, work):
        for name in names:
            (work / name).write_bytes(bytes(1 << 16))
        return facts

    async def fill():
        digests = {spec.image.digest for spec in load(file, layout).sandboxes}
        for digest in digests:
            await cache.build(layout.images, digest, partial(make, ["rootfs.ext4", "tree.gz"], IMAGE), report=print)
        names = ["vmlinux", "initrd.cpio", "tools.erofs"]
        await cache.build(layout.platforms, platform_digest(), partial(make, names, {"kernel": "6.1"}), report=print)

    anyio.run(fill)
    return layout


def stopped(layout, file, *names):
    """Sandboxes of the file that exist and do not run."""
    for spec in load(file, layout).sandboxes:
        if spec.id.name in names:
            paths = layout.sandbox(spec.id)
            paths.root.mkdir(parents=True)
            write_record(paths, Applied(spec, str(file), "2026-01-01T00:00:00+00:00", 0))
            paths.disk.touch()
            paths.base.touch()


# --- load --------------------------------------------------------------------------------------------------------


def test_a_right_file_becomes_what_is_wanted(file, layout):
    loaded = pipeline.load(file, layout)
    assert loaded.diagnostics == ()
    assert loaded.desired.project == "shop"
    assert loaded.desired.source == str(file)
    assert [spec.id for spec in loaded.desired.sandboxes] == [API, WEB]
    assert loaded.desired.sandboxes[1].workspaces[0].source == str(file.parent)
    assert loaded.sources == {str(file): FILE}


def test_all_that_is_wrong_is_told_at_once_with_the_text_for_its_snippets(file, layout):
    file.write_text("name: shop\nsandboxes:\n  web: {workspaces: [/nowhere], colour: red, resources: {cpus: many}}\n")
    loaded = pipeline.load(file, layout)
    assert loaded.desired is None
    assert len(loaded.diagnostics) == 3
    assert list(loaded.sources) == [str(file)]


def test_what_a_command_asks_for_belongs_to_no_file_and_no_project(file, layout):
    text = f"sandboxes: {{box: {{agent: shell, workspaces: [{file.parent}]}}}}\n"
    loaded = pipeline.load_command(text, layout)
    assert loaded.diagnostics == ()
    (spec,) = loaded.desired.sandboxes
    assert (str(spec.id), spec.id.project, loaded.desired.source) == ("box", UNMANAGED, "")
    assert spec.workspaces[0].protect == (".git/config", ".git/hooks")
    wrong = pipeline.load_command("sandboxes: {box: {colour: red}}\n", layout)
    assert wrong.desired is None
    assert wrong.diagnostics[0].span.file == "command"
    assert wrong.sources["command"]


def test_the_lock_beside_the_file_that_a_command_takes_a_template_from_holds(file, layout):
    (file.parent / "sandbox.lock").write_text("{")
    text = "templates: {dev: {base: shell}}\nsandboxes: {box: {template: dev}}\n"
    assert pipeline.load_command(text, layout).desired is not None
    refused = pipeline.load_command(text, layout, file)
    assert refused.desired is None
    assert refused.diagnostics[0].summary == "Lock not readable"


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"a: [", b""])
def test_a_file_that_is_no_yaml_is_a_diagnostic(file, layout, content):
    file.write_bytes(content)
    loaded = pipeline.load(file, layout)
    assert loaded.desired is None
    assert loaded.diagnostics


def test_a_file_that_cannot_be_read_is_an_error_of_the_world(file, layout):
    with pytest.raises(NotFoundError):
        pipeline.load(file.parent / "no.yaml", layout)
    with pytest.raises(HostError):
        pipeline.load(file.parent, layout)


def policy_file(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o644)
    return path


def test_policies_of_user_and_machine_hold_every_sandbox(file, clean_home, layout):
    layout = replace(layout, config=clean_home / "config")
    user = policy_file(layout.user_policy, "default_policy: mine\npolicies: {mine: {allow: [a.example.com]}}\n")
    machine = policy_file(clean_home / "machine.yaml", "policies: {corp: {enforce: true, mode: allow}}\n")
    loaded = pipeline.load(file, layout, machine_policy=machine)
    assert [[layer.name for layer in spec.policy.layers] for spec in loaded.desired.sandboxes] == [
        ["machine policy corp", "user policy mine"]
    ] * 2
    user.chmod(0o666)
    loaded = pipeline.load(file, layout, machine_policy=machine)
    assert loaded.desired is None
    assert not loaded.file.whole
    assert [problem.summary for problem in loaded.diagnostics] == ["Policy file not readable"]


def test_tests_of_policies_are_run_on_demand(file, layout):
    file.write_text(
        "policies: {p: {allow: [a.example.com], tests: {allow: [a.example.com, b.example.com]}}}\n"
        "sandboxes: {web: {policy: p}}\n"
    )
    loaded = pipeline.load(file, layout)
    assert loaded.desired is not None
    assert [test.name for test in loaded.policy_tests] == ["policy p"]
    (problem,) = pipeline.failed_policy_tests(loaded)
    assert str(problem.span) == f"{file}:1:71"


def test_other_content_is_read_as_if_it_stood_in_the_file(file, layout):
    loaded = pipeline.load(file, layout, b"name: other\nsandboxes: {}\n")
    assert loaded.desired.project == "other"
    assert loaded.sources == {str(file): "name: other\nsandboxes: {}\n"}


# --- plan --------------------------------------------------------------------------------------------------------


def test_planning_writes_nothing(file, layout, clean_home):
    made = plan(file, layout)
    assert [change.subject for change in made.changes] == [
        "platform",
        "template shell",
        "sandbox api",
        "sandbox web",
    ]
    assert [path.name for path in clean_home.iterdir()] == ["project"]


def test_the_same_world_gives_the_same_plan(file, filled):
    stopped(filled, file, "web")
    assert plan(file, filled) == plan(file, filled)


def test_verbs_plan_each_project_by_itself(file, filled):
    stopped(filled, file, "web", "api")
    other = SandboxId("bank", "db")
    ids = [WEB, other]
    plans = anyio.run(pipeline.make_verb_plans, "start", ids, filled)
    assert [made.project for made in plans] == ["bank", "shop"]
    assert [step.key for step in plans[1].steps] == ["start web"]


# --- apply -------------------------------------------------------------------------------------------------------


def test_what_a_plan_says_is_done_and_told(file, filled, monkeypatch):
    started = []

    async def start(layout, id, report, **_):
        started.append(id)

    monkeypatch.setattr(machines, "start", start)
    events = []
    outcome = apply(plan(file, filled), filled, events.append)
    assert outcome.ok, outcome.failed
    assert set(started) == {API, WEB}
    assert read_record(filled.sandbox(WEB)).spec == load(file, filled).sandboxes[1]
    keys = ["create api", "start api", "create web", "start web"]
    assert {event.key for event in events if isinstance(event, StepFinished)} == set(keys)
    assert not filled.journal("shop").exists()
    assert not is_locked(filled.project_lock("shop"))


def test_a_failed_step_is_in_the_outcome_and_leaves_no_journal(file, layout, monkeypatch):
    ensure_directories(layout)
    stopped(layout, file, "web")
    monkeypatch.setattr(storage, "try_lock", lambda path: None)
    [made] = anyio.run(pipeline.make_verb_plans, "remove", [WEB], layout)
    events = []
    outcome = apply(made, layout, events.append)
    assert [key for key, _ in outcome.failed] == ["delete web"]
    assert any(isinstance(event, StepFailed) for event in events)
    assert not layout.journal("shop").exists()


def test_a_plan_that_was_overtaken_is_refused_and_changes_nothing(file, filled):
    stopped(filled, file, "web")
    [made] = anyio.run(pipeline.make_verb_plans, "remove", [WEB], filled)
    paths = filled.sandbox(WEB)
    paths.disk.unlink()
    with pytest.raises(StaleError):
        apply(made, filled)
    assert paths.root.exists()
    assert not filled.journal("shop").exists()


@asynccontextmanager
async def another_apply(layout):
    async with hold_lock(layout.project_lock("shop"), "apply a plan", 0):
        yield


def test_one_apply_at_a_time(file, filled):
    stopped(filled, file, "web")
    [made] = anyio.run(pipeline.make_verb_plans, "remove", [WEB], filled)

    async def meanwhile(patience, seconds):
        async with anyio.create_task_group() as group:

            async def hold():
                async with another_apply(filled):
                    ready.set()
                    await anyio.sleep(seconds)

            ready = anyio.Event()
            group.start_soon(hold)
            await ready.wait()
            try:
                return await pipeline.apply_plan(made, filled, lambda event: None, lock_timeout=patience)
            except BusyError as exc:
                return exc
            finally:
                group.cancel_scope.cancel()

    busy = anyio.run(meanwhile, 0, 30)
    assert isinstance(busy, BusyError)
    assert f"process {os.getpid()}" in str(busy)
    assert filled.sandbox(WEB).root.exists()
    assert anyio.run(meanwhile, 30, 0.3).ok
    assert not filled.sandbox(WEB).root.exists()


def test_the_next_apply_tells_what_a_killed_one_was_at_and_sweeps_what_it_left(file, filled):
    stopped(filled, file, "web")
    filled.journal("shop").write_text('{"v": 1, "plan": ["create api"]}\n{"v": 1, "begin": "create api"}\n{"v": 1, "en')
    half_made = filled.sandboxes / "shop/.new-api"
    half_deleted = filled.trash / "shop.old.0123"
    for path in (half_made, half_deleted):
        path.mkdir()
        (path / "disk.qcow2").touch()
    [made] = anyio.run(pipeline.make_verb_plans, "remove", [WEB], filled)
    told = []
    assert apply(made, filled, on_interrupted=told.append).ok
    assert told == [("create api",)]
    assert not half_made.exists()
    assert not half_deleted.exists()
    told.clear()
    apply(anyio.run(pipeline.make_verb_plans, "remove", [WEB], filled)[0], filled, on_interrupted=told.append)
    assert told == []


def test_cancelled_in_a_step_the_journal_says_so(file, filled):
    stopped(filled, file, "web")
    [made] = anyio.run(pipeline.make_verb_plans, "remove", [WEB], filled)

    async def main():
        with anyio.CancelScope() as scope:

            def emit(event):
                if isinstance(event, StepStarted):
                    scope.cancel()

            await pipeline.apply_plan(made, filled, emit)

    anyio.run(main)
    told = []
    [made] = anyio.run(pipeline.make_verb_plans, "remove", [WEB], filled)
    apply(made, filled, on_interrupted=told.append)
    assert told == [("delete web",)]


def protected(file, layout, **options):
    loaded = pipeline.load(file, layout, **options)
    assert loaded.desired is not None, loaded.diagnostics
    return loaded.desired.sandboxes[-1].workspaces[0].protect


def test_variables_come_from_the_files_beside_and_agents_cannot_change_those(file, layout, monkeypatch):
    file.write_text("sandboxes: {web: {workspaces: [.], env: {A: '${A:-none}'}, policy: {allow: ['${HOST}']}}}\n")
    (file.parent / "ci.env").write_text("A=ci\nHOST=ci.example.com\n")
    given = pipeline.Given(env_files=(file.parent / "ci.env",))
    [web] = pipeline.load(file, layout, given=given).desired.sandboxes
    assert dict(web.env)["A"] == "ci"
    assert {"ci.env", ".env"} <= set(protected(file, layout, given=given))
    (file.parent / ".env").write_text("HOST=dot.example.com\n")
    monkeypatch.setenv("A", "environment")
    [web] = pipeline.load(file, layout, given=given).desired.sandboxes
    assert dict(web.env)["A"] == "environment"
    assert [rule.pattern for rule in web.policy.own.allow] == ["dot.example.com"]


def test_a_dot_env_that_no_variable_asks_for_stays_the_agents(file, layout):
    (file.parent / ".env").write_text("this is = something else")
    assert ".env" not in protected(file, layout)


def test_a_dot_env_that_a_sandbox_can_turn_elsewhere_is_refused(file, layout, clean_home):
    file.write_text("sandboxes: {web: {workspaces: [.], env: {A: '${HOME}'}}}\n")
    (clean_home / "elsewhere").write_text("A=1\n")
    (file.parent / ".env").symlink_to(clean_home / "elsewhere")
    assert [problem.summary for problem in pipeline.load(file, layout).diagnostics] == ["Symlink inside a workspace"]


def test_a_wrong_dot_env_opens_nothing(file, layout):
    file.write_text("sandboxes: {web: {policy: {block: ['${HOST:-example.com}'], mode: allow}}}\n")
    (file.parent / ".env").write_text("HOST=secret.example.com\n??\n")
    loaded = pipeline.load(file, layout)
    assert loaded.desired is None
    assert [str(problem.span) for problem in loaded.diagnostics] == [f"{file.parent / '.env'}:2:1"]


def test_every_file_that_shapes_a_sandbox_is_kept_from_it_there_or_not(file, layout):
    (file.parent / "team").mkdir()
    (file.parent / "team" / "policy.yaml").write_text("include: [more.yaml]\n")
    (file.parent / "team" / "more.yaml").write_text("defaults: {env: {A: more}}\n")
    (file.parent / "other.yaml").write_text("sandboxes: {o: {env: {B: other}}}\n")
    file.write_text(
        "include: [team/policy.yaml]\nsandboxes: {web: {workspaces: [.], extends: {file: other.yaml, sandbox: o}}}\n"
    )
    others = {"sandbox.override.yaml", "sandbox.override.yml", "team/policy.yaml", "team/more.yaml", "other.yaml"}
    assert {"sandbox.yaml", "sandbox.lock", *others} <= set(protected(file, layout))
    [web] = load(file, layout).sandboxes
    assert {"A": "more", "B": "other"}.items() <= dict(web.env).items()


def test_a_rule_says_which_file_it_is_of_from_the_projects_directory_wherever_that_is_named_from(
    file, layout, monkeypatch
):
    (file.parent / "team").mkdir()
    (file.parent / "team" / "policy.yaml").write_text("policies:\n  team: {enforce: true, block: [a.example.com]}\n")
    (file.parent.parent / "shared.yaml").write_text("policies:\n  ours: {enforce: true, block: [b.example.com]}\n")
    file.write_text(
        "include: [team/policy.yaml, ../shared.yaml]\nsandboxes: {web: {policy: {allow: [c.example.com]}}}\n"
    )
    outside = f"{file.parent.parent}/shared.yaml"
    expected = {f"{outside}:2:33", "team/policy.yaml:2:33", "sandbox.yaml:2:36"}

    def policy(named, there):
        monkeypatch.chdir(there)
        [web] = load(Path(named), layout).sandboxes
        return web.policy

    found = [
        policy(file, "/"),
        policy("sandbox.yaml", file.parent),
        policy("../sandbox.yaml", file.parent / "team"),
        policy(f"{file.parent.name}/sandbox.yaml", file.parent.parent),
    ]
    assert [{rule.place for layer in each.layers for rule in (*layer.allow, *layer.block)} for each in found] == [
        expected
    ] * 4
    elsewhere = [
        replace(layer, place="x", block=tuple(replace(each, place="x") for each in layer.block))
        for layer in found[0].layers
    ]
    assert replace(found[0], layers=tuple(elsewhere)) == found[0]


def test_a_link_that_a_sandbox_can_put_where_an_override_would_be_is_refused(file, layout, clean_home):
    (clean_home / "wide.yaml").write_text("sandboxes: {web: {policy: {mode: allow}}}\n")
    (file.parent / "sandbox.override.yml").symlink_to(clean_home / "wide.yaml")
    assert [problem.summary for problem in pipeline.load(file, layout).diagnostics] == ["Symlink inside a workspace"]


def test_the_override_counts_unless_files_are_given(file, layout):
    (file.parent / "sandbox.override.yaml").write_text("sandboxes: {web: {env: {A: override}}}\n")
    (file.parent / "more.yaml").write_text("sandboxes: {web: {env: {B: more}}}\n")

    def env(given):
        return {
            name: value
            for name, value in pipeline.load(file, layout, given=given).desired.sandboxes[1].env
            if name in "AB"
        }

    assert env(pipeline.Given()) == {"A": "override"}
    assert env(pipeline.Given(override=False)) == {"A": "1"}
    given = pipeline.Given(more=(file.parent / "more.yaml",), override=False)
    assert env(given) == {"A": "1", "B": "more"}
    assert "more.yaml" in protected(file, layout, given=given)


def test_problems_point_into_the_file_they_are_in(file, layout):
    override = file.parent / "sandbox.override.yaml"
    override.write_text("sandboxes:\n  web: {colour: red, env: {A: '${A:?b}'}}\n")
    loaded = pipeline.load(file, layout)
    assert loaded.desired is None
    assert [str(problem.span) for problem in loaded.diagnostics] == [f"{override}:2:9", f"{override}:2:32"]
    assert override.read_text() == loaded.sources[str(override)]


@pytest.mark.parametrize("dangling", [True, False])
def test_an_override_that_cannot_be_read_opens_nothing(file, layout, dangling):
    override = file.parent / "sandbox.override.yaml"
    override.symlink_to("nowhere") if dangling else override.write_bytes(b"\xff")
    loaded = pipeline.load(file, layout)
    assert loaded.desired is None
    assert "File not readable" in [problem.summary for problem in loaded.diagnostics]


# --- what was read -----------------------------------------------------------------------------------------------


def digest_of(text):
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def test_all_that_a_file_was_read_from_is_told_as_it_was_when_it_was_read(file, layout):
    project = file.parent
    texts = {
        "sandbox.yaml": "include: [team/a.yaml]\n"
        "templates: {t: {base: shell, files: [{source: ./gitconfig, target: /etc/gitconfig}]}}\n"
        "sandboxes: {web: {template: t, env_file: web.env, extends: {file: other.yaml, sandbox: base}}}\n",
        "team/a.yaml": "x-a: '${A}'\ninclude: [../shared.yaml]\n",
        "shared.yaml": "x-b: c\n",
        "other.yaml": "sandboxes: {base: {}}\n",
        "sandbox.override.yaml": "x-c: d\n",
        ".env": "A=b\n",
        "more.env": "C=d\n",
        "web.env": "E=f\n",
        "gitconfig": "[core]\n",
        "sandbox.lock": encode_lock(Lock()),
    }
    (project / "team").mkdir()
    for name, text in texts.items():
        (project / name).write_text(text)
    loaded = pipeline.load(file, layout, given=pipeline.Given(env_files=(project / "more.env",)))
    for name in texts:
        (project / name).write_text("changed since")
    assert loaded.desired is not None, loaded.diagnostics
    told = {each.path.removeprefix(f"{project}/"): each.digest for each in loaded.files}
    assert told == {**{name: digest_of(text) for name, text in texts.items()}, "sandbox.override.yml": ""}
    assert loaded.desired.files == loaded.everything
    assert set(loaded.everything) == {*loaded.files, *loaded.configuration}


def test_what_is_not_there_is_told_too_and_what_was_not_looked_for_is_not(file, layout):
    told = {each.path.removeprefix(f"{file.parent}/"): each.digest for each in pipeline.load(file, layout).files}
    absent = dict.fromkeys(("sandbox.lock", "sandbox.override.yaml", "sandbox.override.yml"), "")
    assert told == {"sandbox.yaml": digest_of(FILE), **absent}
    given = pipeline.load(file, layout, given=pipeline.Given(override=False)).files
    assert [each.path.rpartition("/")[2] for each in given] == ["sandbox.lock", "sandbox.yaml"]


def test_a_relative_name_is_told_as_the_file_that_it_is(file, layout, monkeypatch):
    monkeypatch.chdir(file.parent)
    whole = pipeline.load(file, layout).files
    assert pipeline.load(Path("sandbox.yaml"), layout).files == whole
    assert pipeline.load(Path("./sandbox.yaml"), layout).files == whole


def test_a_plan_says_what_it_was_made_from_and_whether_that_is_all(file, layout):
    files = pipeline.load(file, layout).everything
    made = plan(file, layout)
    assert (made.files, made.whole) == (files, True)
    assert not plan(file, layout, only=("web",)).whole
    assert plan(file, layout, goal="down").files == ()


def test_a_plan_that_deletes_volumes_says_what_it_was_made_from_and_is_not_all_of_it(file, layout):
    paths = layout.volume(VolumeId("shop", "ledger"))
    paths.root.mkdir(parents=True)
    paths.disk.touch()
    made = plan(file, layout, goal="down", volumes=True)
    assert [(change.subject, change.action) for change in made.changes] == [("volume ledger", "delete")]
    assert (made.files, made.whole) == (pipeline.load(file, layout).everything, False)
    assert plan(file, layout, goal="down").files == ()


def test_the_volumes_of_another_file_are_not_deleted_and_not_mounted(file, layout):
    other = file.with_name("other.yaml")
    other.touch()
    paths = layout.volume(VolumeId("shop", "ledger"))
    paths.root.mkdir(parents=True)
    paths.disk.touch()
    record_source(paths, str(other))
    for options in ({"goal": "down", "volumes": True}, {}):
        made = plan(file, layout, **options)
        assert made.steps == ()
        assert [each.summary for each in made.diagnostics] == ["Project name in use"]
    other.unlink()
    assert plan(file, layout, goal="down", volumes=True).steps


@pytest.mark.parametrize("running", [False, True])
def test_approved_files_are_sealed_before_the_first_step_unless_something_inside_may_have_them(
    file, layout, monkeypatch, running
):
    seen = []

    async def execute(*_, **__):
        seen.append(sorted(read_trust(layout).seals))
        raise HostError("stopped here")

    async def writable_now(_):
        return {str(file.parent)}

    monkeypatch.setattr("sandboxfile.applying.executor.execute", execute)
    if running:
        monkeypatch.setattr(pipeline, "writable_now", writable_now)
    approve(layout, load(file, layout).files)
    with pytest.raises(HostError):
        apply(plan(file, layout), layout)
    assert seen == [[] if running else [str(file)]]


def test_a_directory_is_remembered_before_a_sandbox_can_write_to_it(file, layout, monkeypatch):
    seen = []

    async def execute(*_, **__):
        seen.append(read_trust(layout).exposed)
        raise HostError("stopped here")

    monkeypatch.setattr("sandboxfile.applying.executor.execute", execute)
    with pytest.raises(HostError):
        apply(plan(file, layout), layout)
    assert seen == [{str(file.parent)}]


def test_a_directory_of_a_sandbox_on_record_is_remembered_before_the_sandbox_is_gone(file, layout, monkeypatch):
    seen = []

    async def execute(*_, **__):
        seen.append(read_trust(layout).exposed)
        raise HostError("stopped here")

    desired = load(file, layout)
    ensure_directories(layout)
    for spec in desired.sandboxes:  # as made by a program that remembered nothing
        paths = layout.sandbox(spec.id)
        paths.root.mkdir(parents=True)
        write_record(paths, Applied(spec, desired.source, "2026-01-02T03:04:05+00:00", 0))
    monkeypatch.setattr("sandboxfile.applying.executor.execute", execute)
    with pytest.raises(HostError):
        apply(plan(file, layout, goal="down", allow_destroy=True), layout)
    assert seen == [{str(file.parent)}]


def test_what_of_the_host_shapes_sandboxes_is_protected_and_told(file, layout, clean_home, monkeypatch):
    layout = replace(layout, config=clean_home / "project/settings")
    npmrc = file.parent / ".npmrc"
    npmrc.write_text("registry=https://npm.example.com/\n")
    monkeypatch.setenv("NPM_CONFIG_USERCONFIG", str(npmrc))
    file.write_text("sandboxes: {web: {workspaces: [./src], policy: {allow: [{preset: npm}]}}}\n")
    (file.parent / "src").mkdir()
    loaded = pipeline.load(file, layout)
    told = {each.path: each.digest for each in loaded.configuration}
    assert told[str(npmrc)] == digest_of(npmrc.read_text())
    assert told[str(layout.user_policy)] == ""
    policy_file(layout.user_policy, "policies: {mine: {}}\n")
    later = {each.path: each.digest for each in pipeline.load(file, layout).desired.files}
    assert later[str(layout.user_policy)] == digest_of("policies: {mine: {}}\n")
    file.write_text(file.read_text().replace("./src", "."))
    assert "Unsafe workspace" in [each.summary for each in pipeline.load(file, layout).diagnostics]
    (workspace,) = load(file, replace(layout, config=clean_home / "settings")).sandboxes[0].workspaces
    assert ".npmrc" in workspace.protect


def test_where_a_link_to_a_workspace_leads_is_told_and_in_doubt_when_a_sandbox_can_turn_it(file, layout, clean_home):
    theirs, keys = clean_home / "theirs", clean_home / "keys"
    (theirs / "data").mkdir(parents=True)
    keys.mkdir()
    (file.parent / "more").symlink_to("../theirs")
    file.write_text(f"sandboxes: {{web: {{workspaces: ['{theirs}/data:ro', './more:/more:ro']}}}}\n")
    loaded = pipeline.load(file, layout)
    assert [each.path for each in loaded.configuration if "/more" in each.path] == [f"{file.parent}/more"]
    expose(layout, {str(theirs): frozenset()})  # by a sandbox of another project
    approve(layout, loaded.everything)
    assert find_doubts(layout, pipeline.load(file, layout).everything) == ()
    (theirs / "data").rmdir()
    (theirs / "data").symlink_to(keys)
    [doubt] = find_doubts(layout, load(file, layout).files)
    assert (doubt.file.path, doubt.state, doubt.directory) == (f"{theirs}/data", "new", str(theirs))
    approve(layout, pipeline.load(file, layout).everything)
    (theirs / "data").unlink()
    (theirs / "data").symlink_to(clean_home)
    assert [each.state for each in find_doubts(layout, pipeline.load(file, layout).everything)] == ["changed"]


def test_what_the_command_of_a_secret_runs_is_told(file, layout):
    (file.parent / "token.sh").write_text("echo x\n")
    secret = "secrets: {key: {command: [./token.sh, /dev/null], inject: [{host: a.example.com, header: X}]}}\n"
    file.write_text(secret + "sandboxes: {web: {secrets: [key]}}\n")
    loaded = pipeline.load(file, layout)
    assert FileContent(str(file.parent / "token.sh"), digest_of("echo x\n")) in loaded.configuration
    assert not [each for each in loaded.everything if each.path == "/dev/null"]


def test_a_record_of_trust_that_cannot_be_read_stops_who_opens_a_directory(file, layout):
    ensure_directories(layout)
    layout.trust.write_text("{")
    with pytest.raises(StateError, match="cannot be read"):
        apply(plan(file, layout), layout)
    assert not layout.sandbox(WEB).root.exists()
