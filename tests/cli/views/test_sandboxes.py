"""Lists and pages of sandboxes in every state."""

from dataclasses import replace
from datetime import UTC, datetime

from sandboxfile.cli.views.sandboxes import detail, listing, main_process, page, summary
from sandboxfile.model.credential import Credential, Injection, SecretSource
from sandboxfile.model.desired import Command, DesiredSandbox, Healthcheck, Image, Mount, Port, Resources, Workspace
from sandboxfile.model.fingerprint import fingerprint
from sandboxfile.model.observed import Applied, Machine, MainProcess, ObservedSandbox
from sandboxfile.model.policy import Layer, Policy
from sandboxfile.names import UNMANAGED, SandboxId

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
CODE = Workspace("/code", "/code")
DOCS = Workspace("/docs", "/opt/docs", "ro")
SPEC = DesiredSandbox(
    SandboxId("shop", "web"),
    "dev",
    Image("d" * 64, "debian:trixie"),
    workspaces=(CODE, DOCS),
    env=(("A", "1"),),
    resources=Resources(2, 1 << 30, 10 << 30),
    setup=(Command(("make",)),),
    agent="claude",
    ports=(Port(8080, 80), Port(9000, 9000)),
)
APPLIED = Applied(SPEC, "/code/sandbox.yaml", "2026-01-02T10:00:00Z", 1)
MACHINE = Machine(
    "running", 2, 1 << 30, 10 << 30, (CODE,), MainProcess("running", None, 2), "tcg", "b", "2026-01-02T11:59:30Z"
)
MACHINE = replace(MACHINE, ports=(Port(8080, 80),), session="detached")
RUNNING = ObservedSandbox(SPEC.id, "running", APPLIED, MACHINE)
STOPPED = ObservedSandbox(SandboxId("shop", "db"), "stopped", replace(APPLIED, spec=replace(SPEC, workspaces=())))
BROKEN = ObservedSandbox(SandboxId("shop", "x"), "stopped", None, problem="the record has version 9")


def test_the_list_has_a_line_for_each_and_says_what_is_wrong():
    assert listing([RUNNING, replace(STOPPED, disk_present=False), BROKEN], NOW).splitlines() == [
        "ID        NAME  AGENT   STATUS                  WORKSPACE   AGE",
        "shop/web  web   claude  running                 /code (+1)  2h",
        "shop/db   db    claude  stopped (disk missing)  -           2h",
        "shop/x    x     -       stopped (unreadable)    -           -",
    ]


def test_the_json_object_has_the_same_keys_in_every_state():
    keys = {tuple(summary(sandbox)) for sandbox in (RUNNING, STOPPED, BROKEN)}
    (found,) = keys
    assert found[:6] == ("id", "project", "name", "managed", "status", "agent")
    assert found[6:] == ("template", "workspaces", "created_at", "source", "problem", "check", "asleep")
    assert summary(RUNNING)["workspaces"][1] == {"source": "/docs", "target": "/opt/docs", "mode": "ro", "protect": ()}
    keys = {tuple(detail(sandbox, {})) for sandbox in (RUNNING, STOPPED, BROKEN)}
    assert len(keys) == 1
    assert detail(RUNNING, {})["spec"]["env"] == {"A": "1"}
    assert detail(RUNNING, {})["machine"]["main"]["restarts"] == 2


def test_the_page_says_which_volumes_are_attached():
    mounts = (Mount("/data", "data"), Mount("/more", "spare"))
    spec = replace(SPEC, mounts=mounts)
    there = replace(RUNNING, applied=replace(APPLIED, spec=spec), machine=replace(MACHINE, mounts=mounts[:1]))
    shown = [line.strip() for line in page(there, {}, NOW).splitlines()]
    at = shown.index("volumes       data at /data")
    assert shown[at + 1] == "spare at /more (not attached)"
    assert detail(there, {})["machine"]["mounts"] == ({"target": "/data", "volume": "data"},)


def test_the_page_says_what_runs_what_is_missing_and_that_emulation_protects_nothing():
    shown = page(RUNNING, {"disk": "/state/disk.qcow2"}, NOW).splitlines()
    assert shown == [
        "id            shop/web",
        "status        running",
        "file          /code/sandbox.yaml",
        "created       2026-01-02T10:00:00Z (2h ago)",
        "agent         claude",
        "template      dev (debian:trixie)",
        "user          agent",
        "resources     2 cpus, 1GiB memory, 10GiB disk",
        "setup         1 of 1 commands done",
        "protect       no",
        "workspaces    /code (rw)",
        "              /docs at /opt/docs (ro) (not attached)",
        "policy        no policy: mode deny",
        "ports         127.0.0.1:8080:80",
        "              127.0.0.1:9000:9000 (not listening)",
        "started       2026-01-02T11:59:30Z (30s ago)",
        "accelerator   tcg: emulation, not a security boundary",
        "main process  running, 2 restarts",
        "session       its agent runs, with nobody at its terminal",
        "egress        closed: no policy is confirmed by the gateway, and nothing gets out",
        "disk          /state/disk.qcow2",
    ]


def test_the_page_says_which_policies_hold_and_whether_the_gateway_has_confirmed_them():
    team = Layer("team policy", "allow", enforced=True, place="/etc/sandboxfile/policy.yaml:3:3")
    policy = Policy((team, Layer("policy web", place="sandbox.yaml:4:5")))
    applied = replace(APPLIED, spec=replace(SPEC, policy=policy))

    def shown(confirmed):
        sandbox = replace(RUNNING, applied=applied, machine=replace(MACHINE, policy=confirmed))
        return page(sandbox, {}, NOW), detail(sandbox, {})["policy_in_force"]

    text, in_force = shown(fingerprint(policy))
    assert "policy        team policy: mode allow, enforced (/etc/sandboxfile/policy.yaml:3:3)\n" in text
    assert "\n              policy web: mode deny (sandbox.yaml:4:5)\n" in text
    assert "egress        open as its policy says, confirmed by the gateway" in text
    assert in_force is True
    assert "another policy than the one that was applied" in shown("f" * 64)[0]
    assert shown("")[1] is False
    assert detail(STOPPED, {})["policy_in_force"] is None


def test_an_unmanaged_sandbox_has_its_bare_name_and_no_file():
    spec = replace(SPEC, id=SandboxId(UNMANAGED, "box"))
    sandbox = ObservedSandbox(spec.id, "stopped", replace(APPLIED, spec=spec, source=""))
    assert listing([sandbox], NOW).splitlines()[1].split()[:2] == ["box", "box"]
    assert (summary(sandbox)["managed"], summary(sandbox)["source"]) == (False, None)
    assert summary(RUNNING)["managed"] is True
    assert "file        none: a command made it (sbx adopt box writes it into one)" in page(sandbox, {}, NOW)


def test_the_page_says_where_secrets_are_and_where_they_go():
    sources = SecretSource("env", "ANTHROPIC_API_KEY"), SecretSource("command", command=("pass", "tracker"))
    credentials = (
        Credential("anthropic", sources[0], (Injection("api.anthropic.com"),)),
        Credential("tracker", sources[1], (Injection("tracker.example.com", 8443),)),
    )
    spec = replace(SPEC, policy=replace(SPEC.policy, credentials=credentials))
    shown = page(replace(RUNNING, applied=replace(APPLIED, spec=spec)), {}, NOW)
    assert "secrets       anthropic: env ANTHROPIC_API_KEY for api.anthropic.com:443\n" in shown
    assert "\n              tracker: command pass tracker for tracker.example.com:8443\n" in shown


def test_the_page_of_an_unreadable_record_says_why():
    assert page(BROKEN, {}, NOW).splitlines()[2] == "problem  the record has version 9"


def test_a_main_process_is_told_in_words():
    assert main_process(MainProcess()) == "none"
    assert main_process(MainProcess("waiting", 3, 1)) == "exited with 3, to be started again, 1 restart"
    assert main_process(MainProcess("exited", 0)) == "exited with 0"


def test_digests_of_secrets_are_not_shown():
    machine = replace(MACHINE, secrets=(("token", "a-digest"),))
    shown = detail(replace(RUNNING, machine=machine), {})
    assert "secrets" not in shown["machine"]
    assert "a-digest" not in repr(shown)


CHECKED = replace(
    RUNNING,
    applied=replace(
        APPLIED,
        spec=replace(SPEC, healthcheck=Healthcheck(Command(("probe", "a b")), 5.0, retries=2), idle_stop=90.0),
    ),
)


def checked(check, output=""):
    return replace(CHECKED, machine=replace(MACHINE, check=check, check_output=output))


def test_the_list_says_how_healthy_each_is_and_which_ones_sleep():
    asleep = replace(STOPPED, asleep=True)
    shown = listing([*map(checked, ("starting", "healthy", "unhealthy")), asleep], NOW)
    assert [line.split("claude")[1].split("/code")[0].split(" -")[0].strip() for line in shown.splitlines()[1:]] == [
        "running (health: starting)",
        "running (healthy)",
        "running (unhealthy)",
        "stopped (asleep)",
    ]
    assert [summary(each)["check"] for each in (checked("healthy"), RUNNING, STOPPED)] == ["healthy", "none", None]
    assert [summary(each)["asleep"] for each in (RUNNING, asleep)] == [False, True]


def test_the_list_says_whose_main_process_has_ended_and_whose_setup_has_not():
    def shown(machine, applied=APPLIED, **changed):
        sandbox = replace(RUNNING, applied=applied, machine=machine, **changed)
        return listing([sandbox], NOW).splitlines()[1].partition("claude")[2].partition("/code")[0].strip()

    begun = replace(APPLIED, setup_done=0)
    failed = replace(MACHINE, main=MainProcess("exited", 3))
    assert shown(failed) == "running (main process exited 3)"
    assert shown(replace(failed, check="unhealthy")) == "running (main process exited 3, unhealthy)"
    again = replace(MACHINE, main=MainProcess("waiting", 1, 4))
    assert shown(again) == "running (main process exited 1, to be started again)"
    assert shown(MACHINE, begun) == "running (setup not finished)"
    assert shown(None, begun, status="stopped") == "stopped"


def test_the_page_says_what_is_looked_at_and_why_that_failed():
    shown = page(checked("unhealthy", "it exited with 1\nrefused\n\x1b[31m"), {}, NOW).splitlines()
    assert "healthcheck   probe 'a b' (every 5s, 30s at most, 2 failures in a row)" in shown
    assert "idle stop     when nothing was done in it for 1m30s" in shown
    at = shown.index("health        unhealthy: it exited with 1")
    assert shown[at + 1 : at + 3] == ["              refused", "              \N{REPLACEMENT CHARACTER}[31m"]
    assert "health        healthy" in page(checked("healthy"), {}, NOW).splitlines()
    assert "health " not in page(RUNNING, {}, NOW)
    assert "stopped (asleep: the next use starts it)" in page(replace(STOPPED, asleep=True), {}, NOW)
