"""The planner's tests are data: what is wanted and what is there in, the plan out.

A case is a directory in `cases/`: `desired.json`, `observed.json`, and `plan.txt`. SBX_UPDATE=1 rewrites the plans.
What a case leaves out is usual: a sandbox of the file is a `shell` without anything; one that is there was applied
from this file, and when it runs, its machine is as its record says. An image's content is named after its recipe.
"""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from sandboxfile.model.credential import Credential, Injection, SecretSource
from sandboxfile.model.desired import DesiredSandbox, DesiredState, Image, Resources, Volume
from sandboxfile.model.fingerprint import fingerprint
from sandboxfile.model.observed import Applied, Machine, MainProcess, ObservedSandbox, ObservedState, ObservedVolume
from sandboxfile.model.plan import Plan, PlanOptions
from sandboxfile.model.policy import COMMAND, NO_POLICY, Layer, Policy, Rule
from sandboxfile.model.template import BuildStep, DesiredTemplate, Origin, Recipe
from sandboxfile.model.values import parse_size
from sandboxfile.names import SandboxId, VolumeId
from sandboxfile.planning import plan, plan_policy, plan_verb
from sandboxfile.planning.render import render, to_json

CASES = Path(__file__).parent / "cases"
PROJECT, SOURCE = "shop", "/home/u/shop/sandbox.yaml"
UPDATE = bool(os.environ.get("SBX_UPDATE"))


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir()))
def test_the_plan_is_the_expected_one(case):
    check(CASES / case)


def test_no_two_cases_ask_the_same():
    asked = [(path / "desired.json").read_text() + (path / "observed.json").read_text() for path in CASES.iterdir()]
    assert len(set(asked)) == len(asked)


def check(case: Path) -> None:
    """Compare the plan of a case, or rewrite it."""
    made = planned(json.loads((case / "desired.json").read_text()), json.loads((case / "observed.json").read_text()))
    expected = case / "plan.txt"
    if UPDATE:
        expected.write_text(shown(made))
    assert shown(made) == expected.read_text()
    json.dumps(to_json(made))


def planned(desired: dict, observed: dict) -> Plan:
    """The plan of a case; `verb` in `desired.json` asks for a verb instead of the file's goal."""
    state = observed_state(observed)
    if desired.get("verb") == "policy":
        return plan_policy(state, SandboxId(PROJECT, desired["name"]), policy(desired["policy"]))
    if "verb" in desired:
        ids = [SandboxId(PROJECT, name) for name in desired["names"]]
        return plan_verb(desired["verb"], state, ids, desired.get("allow_destroy", False))
    specs = tuple(spec(name, fields) for name, fields in sorted(desired.get("sandboxes", {}).items()))
    options = PlanOptions(**{key: _tuple(value) for key, value in desired.get("options", {}).items()})
    templates = templates_of(specs, desired.get("templates", {}))
    volumes = tuple(Volume(VolumeId(PROJECT, name), _size(size)) for name, size in desired.get("volumes", {}).items())
    return plan(DesiredState(PROJECT, desired.get("source", SOURCE), specs, templates, volumes), state, options)


def shown(made: Plan) -> str:
    """A plan with everything in it: what a person reads, what is refused, and the steps."""
    refused = [f"{d.severity}: {d.summary}: {d.detail} (hint: {d.hint})" for d in made.diagnostics]
    steps = []
    for step in made.steps:
        needs = f" after {', '.join(step.needs)}" if step.needs else ""
        steps.append(f"{step.key}: {type(step.operation).__name__}: {step.reason}{needs}")
    return "\n".join([render(made), *refused, "---", *steps, ""])


# --- what the cases leave out ------------------------------------------------------------------------------------


def spec(name: str, fields: dict) -> DesiredSandbox:
    fields = dict(fields)
    base, packages = fields.pop("base", "debian:trixie"), tuple(fields.pop("packages", ()))
    sizes = {key: _size(value) for key, value in fields.pop("resources", {}).items()}
    workspaces = [_workspace(item) for item in fields.pop("workspaces", ())]
    given = {
        "id": SandboxId(PROJECT, name),
        "template": "shell",
        "image": Image(fingerprint((base, packages)), " + ".join((base, *packages))),
        "resources": Resources(**{"memory": _size("512MiB"), "disk": _size("4GiB"), **sizes}),
        "workspaces": workspaces,
        "env": sorted(fields.pop("env", {}).items()),
        "setup": [{"argv": ("sh", "-c", text)} for text in fields.pop("setup", ())],
        "mounts": [_mount(text) for text in fields.pop("mounts", ())],
    }
    if "command" in fields:
        given["command"] = {"argv": fields.pop("command")}
    if "policy" in fields:
        given["policy"] = policy(fields.pop("policy"))
    return TypeAdapter(DesiredSandbox).validate_python({**given, **fields})


def templates_of(specs: tuple[DesiredSandbox, ...], given: dict) -> tuple[DesiredTemplate, ...]:
    """Those of the sandboxes, with what is `given` by name: `origin`, `run`, `policy`, `locked` (its content)."""
    found = {}
    for one in specs:
        fields = given.get(one.template, {})
        steps = tuple(BuildStep("run", command=("sh", "-c", text)) for text in fields.get("run", ()))
        recipe = Recipe(Origin(**fields.get("origin", {"kind": "debian"})), steps, digest=one.image.digest)
        build_policy = policy(fields["policy"]) if "policy" in fields else NO_POLICY
        locked = fields.get("locked", "")
        found[one.image.digest] = DesiredTemplate(one.template, recipe, build_policy, bool(locked), locked)
    return tuple(found.values())


def policy(fields: dict) -> Policy:
    """`enforced` are layers above it; `command` are patterns that `sbx network proxy` allowed; `settings` a map."""
    fields = dict(fields)
    above = tuple(replace(layer(given), enforced=True) for given in fields.pop("enforced", ()))
    settings = tuple(sorted(fields.pop("settings", {}).items()))
    credentials = tuple(credential(name, given) for name, given in sorted(fields.pop("credentials", {}).items()))
    return Policy((*above, layer(fields)), settings, credentials)


def credential(name: str, fields: dict) -> Credential:
    """`env`, `file`, `store`: its name; `header` at `host`; `variable` inside."""
    kind = next(kind for kind in ("env", "file", "store") if kind in fields)
    injection = Injection(fields["host"], name=fields.get("header", "Authorization"))
    return Credential(name, SecretSource(kind, fields[kind]), (injection,), fields.get("variable", ""))


def layer(fields: dict) -> Layer:
    fields = dict(fields)
    made = tuple(Rule(pattern, origin=COMMAND) for pattern in fields.pop("command", ()))
    rules = {kind: tuple(map(Rule, fields.pop(kind, ()))) for kind in ("allow", "block", "bypass")}
    return Layer(**{**fields, **rules, "allow": rules["allow"] + made})


def observed_state(observed: dict) -> ObservedState:
    sandboxes = tuple(_found(name, fields) for name, fields in sorted(observed.get("sandboxes", {}).items()))
    images = {one.applied.spec.image.digest: one.applied.content for one in sandboxes if one.applied}
    for image in observed.get("images", ()):
        given = dict(image)
        content = given.pop("content", "")
        digest = spec("x", given).image.digest
        images[digest] = content or f"sha256:{digest}"
    missing = frozenset(observed.get("missing_sources", ()))
    ready = observed.get("platform_ready", True)
    volumes = tuple(_volume(name, fields) for name, fields in observed.get("volumes", {}).items())
    return ObservedState(PROJECT, sandboxes, images, ready, missing, volumes)


def _volume(name: str, fields: dict) -> ObservedVolume:
    holder = SandboxId(PROJECT, fields["holder"]) if "holder" in fields else None
    size, source = _size(fields.get("size", "10GiB")), fields.get("source", SOURCE)
    return ObservedVolume(VolumeId(PROJECT, name), size, holder, source)


def _found(name: str, fields: dict) -> ObservedSandbox:
    status = fields.get("status", "running")
    if "problem" in fields:
        return ObservedSandbox(SandboxId(PROJECT, name), status, None, problem=fields["problem"])
    was = spec(name, fields.get("spec", {}))
    done = fields.get("setup_done", len(was.setup))
    content = fields.get("content", f"sha256:{was.image.digest}")
    applied = Applied(was, fields.get("source", SOURCE), "2026-01-02T03:04:05+00:00", done, content)
    machine = None if status in ("stopped", "unresponsive") else _machine(was, status, fields.get("machine", {}))
    present, outdated = fields.get("disk_present", True), fields.get("outdated", False)
    stale = tuple(fields.get("stale_secrets", ()))
    asleep = fields.get("asleep", False)
    checkpoints = fields.get("checkpoints", 0)
    return ObservedSandbox(
        applied.spec.id, status, applied, machine, present, None, outdated, stale, asleep, checkpoints
    )


def _machine(was: DesiredSandbox, status: str, fields: dict) -> Machine:
    main = MainProcess(**fields["main"]) if "main" in fields else MainProcess("running" if was.command else "none")
    given = {
        "health": status,
        "cpus": was.resources.cpus,
        "memory": was.resources.memory,
        "disk": was.resources.disk,
        "workspaces": sorted(was.workspaces, key=lambda item: item.target) if status != "starting" else (),
        "accelerator": "tcg",
        "boot": "b",
        "started_at": "2026-01-02T03:04:05Z",
        "policy": fingerprint(was.policy) if status != "starting" else "",
        "ports": was.ports,
        "mounts": sorted(was.mounts) if status != "starting" else (),
        "agent_found": status != "starting" and fields.get("agent_found", True),
        "check": fields.get("check", "none"),
    }
    told = {key: _size(value) for key, value in fields.items() if key in ("memory", "disk", "cpus")}
    if "workspaces" in fields:
        told["workspaces"] = [_workspace(item) for item in fields["workspaces"]]
    if "ports" in fields:
        told["ports"] = fields["ports"]
    if "mounts" in fields:
        told["mounts"] = [_mount(text) for text in fields["mounts"]]
    if "policy" in fields:
        told["policy"] = fingerprint(policy(fields["policy"])) if fields["policy"] else ""
    return TypeAdapter(Machine).validate_python({**given, **told, "main": main})


def _workspace(text: str) -> dict:
    source, *rest = text.split(":")
    mode = rest.pop() if rest and rest[-1] in ("ro", "rw") else "rw"
    return {"source": source, "target": rest[0] if rest else source, "mode": mode}


def _mount(text: str) -> dict:
    volume, _, target = text.partition(":")
    return {"volume": volume, "target": target}


def _size(value: int | str) -> int:
    size = parse_size(value)
    assert size is not None
    return size


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def test_with_frozen_an_image_that_is_there_must_be_the_locked_one():
    wanted = spec("web", {})
    recipe = Recipe(Origin("debian", "trixie"), digest=wanted.image.digest)

    def planned(content, frozen):
        template = DesiredTemplate("shell", recipe, content="sha256:locked", frozen=frozen)
        state = ObservedState(PROJECT, (), {wanted.image.digest: content}, platform_ready=True)
        return plan(DesiredState(PROJECT, SOURCE, (wanted,), (template,)), state, PlanOptions())

    assert planned("sha256:locked", True).steps
    assert planned("sha256:other", False).steps
    refused = planned("sha256:other", True)
    assert not refused.steps
    assert "sha256:other" in refused.diagnostics[0].detail
