"""Two files' sandboxes, templates and volumes against each other: what differs, what of it widens, how it is shown."""

import json
from dataclasses import replace

from sandboxfile.model.desired import DesiredSandbox, DesiredState, Image, Resources, Volume, Workspace
from sandboxfile.model.policy import NO_POLICY, Layer, Policy, Rule
from sandboxfile.model.template import BuildStep, DesiredTemplate, Origin, PlacedFile, Recipe
from sandboxfile.names import SandboxId, VolumeId
from sandboxfile.planning.comparing import compare, render, to_json, to_markdown

WEB = DesiredSandbox(SandboxId("shop", "web"), "shell", Image("d", "debian:trixie"))
OPEN = Policy((Layer("policy web", "deny", (Rule("a.test", place="sandbox.yaml:3:9"),)),))


def state(*sandboxes, project="shop", **fields):
    return DesiredState(project, "/p/sandbox.yaml", sandboxes, **fields)


def found(before, after):
    return {change.subject: change for change in compare(before, after, "git:main").changes}


def test_the_same_is_no_difference():
    same = compare(state(WEB), state(WEB), "git:main")
    assert (same.changes, same.widening) == ((), ())
    assert render(same) == "No differences: everything is as git:main has it."
    assert "**No differences.**" in to_markdown(same)
    assert to_json(same)["changes"] == []


def test_an_added_sandbox_widens_by_all_that_it_may_do():
    new = replace(WEB, workspaces=(Workspace("/s", "/s"),), policy=OPEN)
    change = found(state(), state(new))["sandbox web"]
    assert change.action == "create"
    assert [shift.text for shift in change.shifts] == ["web sees /s (rw)", "web can reach a.test [sandbox.yaml:3:9]"]


def test_a_removed_sandbox_is_less():
    change = found(state(WEB), state())["sandbox web"]
    assert (change.action, [shift.direction for shift in change.shifts]) == ("delete", ["tightens"])


def test_fields_say_what_changed_and_what_that_costs_and_no_values():
    new = replace(WEB, env=(("A", "hunter2"),), resources=Resources(cpus=4), profiles=("ci",))
    text = render(compare(state(WEB), state(new), "git:main"))
    assert text.splitlines()[0] == "  ~ sandbox web: changed (3 fields changed)"
    assert "env.A: (none) -> (new value) (live" in text
    assert "resources.cpus: 2 -> 4 (restart" in text
    assert "profiles: (none) -> ci (live" in text
    assert "hunter2" not in text
    assert text.splitlines()[-1] == "1 changed; nothing widens."


def test_what_widens_is_marked():
    found = compare(state(WEB), state(replace(WEB, policy=OPEN)), "git:main")
    assert "      ! widens: web can now reach a.test [sandbox.yaml:3:9]" in render(found).splitlines()
    assert render(found).splitlines()[-1] == "1 changed; 1 widening."
    told = json.loads(json.dumps(to_json(found)))
    assert told["widens"] is True
    assert told["base"] == "git:main"
    [change] = told["changes"]
    assert (change["subject"], change["action"]) == ("sandbox web", "changed")
    assert change["widens"] == [{"kind": "reach", "text": "web can now reach a.test [sandbox.yaml:3:9]"}]
    lines = to_markdown(found).splitlines()
    assert lines[2] == "#### Widens"
    assert "! web can now reach a.test [sandbox.yaml:3:9]" in lines


def test_nothing_of_a_file_becomes_markup():
    name = "</code></details>```@team"
    text = to_markdown(compare(state(), state(replace(WEB, workspaces=(Workspace(f"/{name}", "/x"),))), name))
    assert "<code>&#60;&#47;code" in text
    assert text.count("</details>") == 1 + text.count(f"/{name}")  # those inside of fences, which they cannot end
    assert "````diff" in text


def test_another_project_name_is_told():
    change = found(state(WEB), state(replace(WEB, id=SandboxId("store", "web")), project="store"))["project store"]
    assert change.fields[0].effect == "replace"
    assert found(state(), state(project="store")) == {}


def test_everything_of_another_project_is_new():
    mine = replace(WEB, workspaces=(Workspace("/s", "/s"),), policy=OPEN)
    theirs = replace(mine, id=SandboxId("prod", "web"))
    volumes = [(Volume(VolumeId(project, "data"), 1 << 30),) for project in ("shop", "prod")]
    was, now = state(mine, WEB, volumes=volumes[0]), state(theirs, project="prod", volumes=volumes[1])
    compared = compare(was, now, "git:main")
    assert {change.subject: change.action for change in compared.changes} == {
        "project prod": "update",
        "volume data": "create",
        "sandbox web": "create",
    }
    assert [shift.text for shift in compared.widening] == [
        "web sees /s (rw)",
        "web can reach a.test [sandbox.yaml:3:9]",
    ]
    assert "everything of it is new, and what there is of shop stays" in render(compared)


def template(name="dev", files=(), run=(), digest="d", policy=NO_POLICY, packages=()):
    placed = tuple(PlacedFile(target, 0o644, f"sha256:{content}", source) for source, target, content in files)
    steps = (
        *([BuildStep("files", files=placed)] if placed else []),
        *([BuildStep("npm", packages=packages)] if packages else []),
        *(BuildStep("run", command=(each,)) for each in run),
    )
    return DesiredTemplate(name, Recipe(Origin("debian", "trixie"), steps, digest=digest), policy)


def test_templates_say_what_of_them_changed():
    old = template(files=[("/h/a", "/a", "1" * 64)], run=["x --token=hunter2"], packages=("typescript",))
    new = template(
        files=[("/h/a", "/a", "2" * 64), ("/h/b", "/b", "3" * 64)], run=["y"], digest="e", policy=OPEN, packages=("x",)
    )
    change = found(state(templates=(old,)), state(templates=(new,)))["template dev"]
    assert [field.path for field in change.fields] == ["files./a", "packages.npm", "steps.3", "files./b", "policy"]
    assert [shift.text for shift in change.shifts] == [
        "template dev: its image gets /h/b as /b",
        "template dev: its build can now reach a.test [sandbox.yaml:3:9]",
    ]
    assert "hunter2" not in str(change)
    pinned = replace(old, recipe=replace(old.recipe, digest="f"))
    assert [f.path for f in found(state(templates=(old,)), state(templates=(pinned,)))["template dev"].fields] == [
        "recipe"
    ]


def test_templates_come_and_go():
    dev = template(files=[("/h/a", "/a", "1" * 64)])
    assert found(state(), state(templates=(dev,)))["template dev"].shifts[0].direction == "widens"
    assert found(state(templates=(dev,)), state())["template dev"].action == "delete"


def test_a_sandbox_of_another_template_gets_its_files():
    dev = template(files=[("/h/a", "/a", "1" * 64)], digest="e")
    plain = template("plain")
    both = (dev, plain)
    moved = replace(WEB, template="dev", image=Image("e"))
    change = found(state(WEB, templates=both), state(moved, templates=both))["sandbox web"]
    assert [shift.text for shift in change.shifts] == ["web is made from dev: its image gets /h/a as /a"]


def test_volumes_come_go_and_grow():
    small, large = (Volume(VolumeId("shop", "cache"), size << 30) for size in (1, 2))
    assert found(state(), state(volumes=(small,)))["volume cache"].action == "create"
    assert found(state(volumes=(small,)), state(volumes=(large,)))["volume cache"].fields[0].before == "1GiB"
    assert "stays" in found(state(volumes=(small,)), state())["volume cache"].cause
