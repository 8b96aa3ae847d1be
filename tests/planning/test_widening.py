"""By which a sandbox may do more: what is called neutral or less is, for everything that is held to outside of it."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandboxfile.model.credential import Credential, Injection, SecretSource
from sandboxfile.model.desired import Command, DesiredSandbox, FromHost, Image, Mount, Port, Resources, Workspace
from sandboxfile.model.fingerprint import fingerprint
from sandboxfile.model.plan import Change, CreateSandbox, DeleteSandbox, Plan, Shift, Step, UpdateRecord
from sandboxfile.model.policy import NO_POLICY, Layer, Policy, Rule
from sandboxfile.model.template import BuildStep, DesiredTemplate, Origin, PlacedFile, Recipe
from sandboxfile.names import SandboxId
from sandboxfile.planning.changes import given_to, reach_of
from sandboxfile.planning.widening import image_shifts, planned_shifts, shifts, taken_away, template_shifts, widening

ID = SandboxId("shop", "web")
PLAIN = DesiredSandbox(ID, "shell", Image("d"))


def policy(*allow, credentials=(), **fields):
    return Policy(
        (Layer("policy web", "deny", tuple(Rule(each) for each in allow), **fields),), credentials=credentials
    )


def secret(name="key", source="KEY", host="api.example.com", place="", **fields):
    injected = {key: fields.pop(key) for key in tuple(fields) if key in Injection.__slots__ and key != "name"}
    injection = Injection(host, name=fields.pop("header", "Authorization"), **injected)
    return Credential(name, SecretSource("env", source), (injection,), place=place, **fields)


def using(*credentials):
    return {"policy": policy(credentials=credentials)}


def told(before, after):
    """`+` what is more, `-` what is less."""
    found = shifts(before, after)
    return [f"{'+' if each.direction == 'widens' else '-'} {each.text.removeprefix('web ')}" for each in found]


RW, RO = Workspace("/s", "/s", "rw"), Workspace("/s", "/s", "ro")
USUAL = (".git/config", ".git/hooks", "sandbox.lock", "sandbox.override.yaml", "sandbox.yaml")
TABLE = {
    "a mount": ({}, {"workspaces": (RO,)}, ["+ now sees /s (ro)"]),
    "a mount gone": ({"workspaces": (RO,)}, {}, ["- no longer sees /s at /s"]),
    "ro to rw": ({"workspaces": (RO,)}, {"workspaces": (RW,)}, ["+ may now write to /s (rw)"]),
    "rw to ro": ({"workspaces": (RW,)}, {"workspaces": (RO,)}, ["- sees /s only ro"]),
    "elsewhere inside": (
        {"workspaces": (RW,)},
        {"workspaces": (Workspace("/s", "/t"),)},
        ["+ now sees /s at /t (rw from /s)", "- no longer sees /s at /s"],
    ),
    "a part of it": (
        {"workspaces": (RW,)},
        {"workspaces": (Workspace("/s/sub", "/s"),)},
        ["+ now sees /s/sub at /s (rw from /s/sub)", "- no longer sees /s at /s"],
    ),
    "no longer protected": (
        {"workspaces": (replace(RW, protect=(".git/hooks", "x")),)},
        {"workspaces": (replace(RW, protect=("x",)),)},
        ["+ may now write to .git/hooks in /s, no longer protected"],
    ),
    "a file that another one is loaded instead of": (
        {"workspaces": (replace(RW, protect=("a/sandbox.yaml", "a/sandbox.yml")),)},
        {"workspaces": (replace(RW, protect=("a/sandbox.yaml",)),)},
        ["- sees /s only rw protecting a/sandbox.yaml"],
    ),
    "the file that is loaded": (
        {"workspaces": (replace(RW, protect=("sandbox.yaml", "sandbox.yml")),)},
        {"workspaces": (replace(RW, protect=("sandbox.yml",)),)},
        ["+ may now write to sandbox.yaml in /s, no longer protected"],
    ),
    "protected by more": (
        {"workspaces": (replace(RW, protect=(".git/hooks",)),)},
        {"workspaces": (replace(RW, protect=(".git",)),)},
        ["- sees /s only rw protecting .git"],
    ),
    "what always is protected": ({}, {"workspaces": (replace(RW, protect=USUAL),)}, ["+ now sees /s (rw)"]),
    "what always is, with what was asked for": (
        {},
        {"workspaces": (replace(RW, protect=(*USUAL, "keys", "sub/sandbox.yaml")),)},
        ["+ now sees /s (rw protecting keys, sub/sandbox.yaml)"],
    ),
    "what always is protected, below": (
        {"workspaces": (RO,)},
        {"workspaces": (replace(RW, protect=(".git/config", "shop/sandbox.lock", "shop/sandbox.yaml")),)},
        ["+ may now write to /s (rw)"],
    ),
    "what always is, no longer": (
        {"workspaces": (replace(RW, protect=USUAL),)},
        {"workspaces": (replace(RW, protect=(".git/config", "x")),)},
        ["+ may now write to .git/hooks, sandbox.lock, sandbox.override.yaml, sandbox.yaml in /s, no longer protected"],
    ),
    "what always is, only now": (
        {"workspaces": (RW,)},
        {"workspaces": (replace(RW, protect=(".git/config",)),)},
        ["- sees /s only rw protecting .git/config"],
    ),
    "a volume": ({}, {"mounts": (Mount("/v", "cache"),)}, ["+ has the volume cache at /v"]),
    "a volume elsewhere": (
        {"mounts": (Mount("/v", "cache"),)},
        {"mounts": (Mount("/w", "cache"),)},
        ["+ has the volume cache at /w"],
    ),
    "another volume": (
        {"mounts": (Mount("/v", "cache"),)},
        {"mounts": (Mount("/v", "data"),)},
        ["+ has the volume data at /v", "- no longer has the volume cache"],
    ),
    "a port": ({}, {"ports": (Port(8080, 80),)}, ["+ is reached at 127.0.0.1:8080"]),
    "for everybody": (
        {"ports": (Port(8080, 80),)},
        {"ports": (Port(8080, 80, "0.0.0.0"),)},
        ["+ is reached at 0.0.0.0:8080", "- is no longer reached at 127.0.0.1:8080"],
    ),
    "for this host alone": (
        {"ports": (Port(8080, 80, "0.0.0.0"),)},
        {"ports": (Port(8080, 80),)},
        ["- is no longer reached at 0.0.0.0:8080"],
    ),
    "another port of it": ({"ports": (Port(1, 80),)}, {"ports": (Port(1, 22),)}, ["+ is reached at 127.0.0.1:1"]),
    "a variable of the host": (
        {},
        {"from_host": (FromHost("environment", "HOME"),), "env": (("HOME", "/h"),)},
        ["+ is given HOME of the environment of sbx"],
    ),
    "no longer": ({"from_host": (FromHost(".env", "A"),)}, {}, ["- is no longer given A of .env"]),
    "a git identity": ({}, {"env": (("GIT_AUTHOR_NAME", "A"),)}, ["+ commits by a name that is set for it"]),
    "another": (
        {"env": (("GIT_AUTHOR_NAME", "A"),)},
        {"env": (("GIT_AUTHOR_NAME", "B"),)},
        ["+ commits by another name"],
    ),
    "protect lifted": ({"protect": True}, {}, ["+ may be replaced or deleted without --allow-destroy"]),
    "protect set": ({}, {"protect": True}, ["- is replaced or deleted only with --allow-destroy"]),
    "reach": ({}, {"policy": policy("a.test")}, ["+ can now reach a.test"]),
    "no reach": ({"policy": policy("a.test")}, {"policy": policy()}, ["- can no longer reach a.test"]),
    "less inspected": (
        {"policy": policy("a.test")},
        {"policy": policy("a.test", inspect="minimal")},
        ["+ is now inspected only where a rule needs it"],
    ),
    "a secret": ({}, using(secret()), ["+ may now use the secret key (env KEY) at api.example.com:443"]),
    "a secret at another place": (
        using(secret()),
        using(secret(host="evil.example.com")),
        [
            "+ may now use the secret key (env KEY) at evil.example.com:443",
            "- may no longer use the secret key (env KEY) at api.example.com:443",
        ],
    ),
    "another secret at the same place": (
        using(secret()),
        using(secret(source="AWS")),
        [
            "+ may now use the secret key (env AWS) at api.example.com:443",
            "- may no longer use the secret key (env KEY) at api.example.com:443",
        ],
    ),
    "a secret by another name": (using(secret()), using(secret("other")), []),
    "in another header": (
        using(secret()),
        using(secret(header="X-Key")),
        ["+ sends otherwise than before the secret key (env KEY) at api.example.com:443"],
    ),
    "on fewer paths": (using(secret()), using(secret(paths=("/v1/**",))), []),
    "on more paths": (
        using(secret(paths=("/v1/**",))),
        using(secret()),
        ["+ sends otherwise than before the secret key (env KEY) at api.example.com:443"],
    ),
    "fewer headers dropped": (
        using(secret(drops=("X-Key",))),
        using(secret()),
        ["+ sends otherwise than before the secret key (env KEY) at api.example.com:443"],
    ),
    "wherever it likes": (
        using(secret()),
        using(secret(variable="TOKEN", placeholder="x")),
        ["+ may now put the secret key wherever it likes in requests to api.example.com:443"],
    ),
    "wherever it likes at one more place": (
        using(secret(variable="TOKEN"), secret("two", host="b.example.com")),
        using(secret(variable="TOKEN"), secret("two", host="b.example.com", variable="TOKEN2")),
        ["+ may now put the secret two wherever it likes in requests to b.example.com:443"],
    ),
    "unapproved": (
        using(secret()),
        using(secret(known=True)),
        ["+ uses the secret key at api.example.com:443 without anybody's approval"],
    ),
    "unapproved at one more place": (
        using(secret(known=True), secret("two", host="b.example.com")),
        using(secret(known=True), secret("two", host="b.example.com", known=True)),
        ["+ uses the secret two at b.example.com:443 without anybody's approval"],
    ),
}
NEUTRAL = {
    "user": "root",
    "docker": True,
    "agent": "claude",
    "command": Command(("x",)),
    "setup": (Command(("y",)),),
    "env": (("A", "b"),),
    "resources": Resources(8, 8 << 30, 99 << 30),
    "restart": "always",
    "idle_stop": 60.0,
    "image": Image("e"),
    "template": "dev",
}


@pytest.mark.parametrize(("before", "after", "expected"), TABLE.values(), ids=TABLE)
def test_a_sandbox_changes_by(before, after, expected):
    before = {"policy": policy(), **before}
    after = {"policy": policy(), **after}
    assert told(replace(PLAIN, **before), replace(PLAIN, **after)) == expected


@pytest.mark.parametrize("name", NEUTRAL)
def test_what_happens_inside_is_neutral(name):
    assert shifts(PLAIN, replace(PLAIN, **{name: NEUTRAL[name]})) == ()
    assert shifts(replace(PLAIN, **{name: NEUTRAL[name]}), PLAIN) == ()


def test_all_of_a_new_sandbox_is_more_in_the_words_of_its_plan():
    assert shifts(None, PLAIN) == ()
    new = replace(
        PLAIN,
        workspaces=(RW,),
        ports=(Port(8080, 80),),
        from_host=(FromHost("environment", "A"),),
        policy=policy("a.test", "*.b.test", "203.0.113.0/24", credentials=(secret(),)),
    )
    found = {each.text for each in shifts(None, new)}
    assert found == {f"web {sentence}" for sentence in given_to(new) + reach_of(new.policy)}
    assert all(each.direction == "widens" for each in shifts(None, new))


def test_a_new_sandbox_that_is_watched_less_says_so():
    new = replace(PLAIN, policy=Policy((Layer("p", bypass=(Rule("a.test"),), inspect="minimal"),)))
    assert [each.text for each in shifts(None, new)] == [
        "web is not inspected on the way to a.test",
        "web is inspected only where a rule needs it",
    ]


def test_a_command_of_a_secret_runs_on_this_host():
    one = Credential("key", SecretSource("command", command=("pass", "show")), (Injection("a.test"),))
    texts = [each.text for each in shifts(PLAIN, replace(PLAIN, policy=policy(credentials=(one,))))]
    assert texts[0] == "web has `pass show` run on this host, for key"
    other = replace(one, source=SecretSource("command", command=("sh", "-c", "evil")))
    before = replace(PLAIN, policy=policy(credentials=(one,)))
    assert any(
        "`sh -c evil`" in each.text for each in shifts(before, replace(PLAIN, policy=policy(credentials=(other,))))
    )


def test_a_sentence_says_where_its_rule_is_from():
    rules = (
        Rule("a.test", place="sandbox.yaml:3:9"),
        Rule("b.test", origin="preset npm", place="sandbox.yaml:4:9"),
        Rule("c.test", origin="agent claude"),
    )
    after = Policy((Layer("policy web", "deny", rules),), credentials=(secret(place="sandbox.yaml:9:1"),))
    assert [each.text for each in shifts(PLAIN, replace(PLAIN, policy=after))] == [
        "web can now reach a.test [sandbox.yaml:3:9]",
        "web can now reach b.test [preset npm, sandbox.yaml:4:9]",
        "web can now reach c.test [agent claude]",
        "web may now use the secret key (env KEY) at api.example.com:443 [sandbox.yaml:9:1]",
    ]


def test_all_is_more_than_a_policy_that_nobody_can_read():
    wrong = Policy((Layer("p", "deny", (Rule("no host"),)),))
    found = shifts(replace(PLAIN, policy=wrong), replace(PLAIN, policy=policy("a.test")))
    assert found == (Shift("widens", "reach", "web can reach a.test"),)


# --- any two sandboxes -------------------------------------------------------------------------------------------

workspaces = st.builds(
    Workspace,
    st.sampled_from(("/a", "/b")),
    st.sampled_from(("/a", "/b", "/c")),
    st.sampled_from(("ro", "rw")),
    st.sampled_from(((), ("x",), ("x/y",), ("x", "z"))),
)
ports = st.builds(Port, st.sampled_from((1, 2)), st.sampled_from((80, 22)), st.sampled_from(("127.0.0.1", "0.0.0.0")))
secrets = st.builds(
    secret,
    st.sampled_from(("k", "l")),
    st.sampled_from(("K", "L")),
    st.sampled_from(("a.test", "b.test")),
    header=st.sampled_from(("X", "Y")),
    paths=st.sampled_from(((), ("/a",), ("/a", "/b"))),
    drops=st.sampled_from(((), ("Z",))),
    variable=st.sampled_from(("", "V")),
)


@st.composite
def sandboxes(draw):
    by_target = {each.target: each for each in draw(st.lists(workspaces, max_size=3))}
    credentials = {each.name: each for each in draw(st.lists(secrets, max_size=2))}
    return replace(
        PLAIN,
        workspaces=tuple(by_target.values()),
        ports=tuple(sorted(draw(st.frozensets(ports, max_size=3)))),
        policy=policy(credentials=tuple(credentials.values())),
        mounts=tuple(
            Mount(draw(st.sampled_from(("/v", "/w"))), each) for each in draw(st.sampled_from(("", "x", "y")))
        ),
    )


def may(spec):
    """Everything that a sandbox may do with what is outside of it, one by one; written without the code under test."""
    found = set()
    for each in spec.workspaces:
        found.add(("read", each.source, each.target))
        paths = ("x", "x/y", "x/y/w", "z", "other") if each.mode == "rw" else ()
        for path in paths:
            if not any(f"{path}/".startswith(f"{held}/") for held in each.protect):
                found.add(("write", each.source, path))
    for port in spec.ports:
        reachable = ("127.0.0.1", "192.0.2.1") if port.address == "0.0.0.0" else (port.address,)
        found.update(("port", address, port.host, port.guest) for address in reachable)
    for each in spec.policy.credentials:
        for way in each.injections:
            for path in ("/a", "/b", "/c"):
                if not way.paths or path in way.paths:
                    undropped = "Z" not in way.drops
                    found.add(("send", each.source, way.host, way.name, path, undropped))
            if each.variable:
                found.update(("anywhere", each.source, place) for place in each.bound)
    found.update(("volume", each.volume, each.target) for each in spec.mounts)
    return found


@settings(max_examples=150, deadline=None)
@given(sandboxes(), sandboxes())
def test_whoever_may_do_something_new_widens(before, after):
    if not any(each.direction == "widens" for each in shifts(before, after)):
        new = may(after) - may(before)
        # Fewer headers taken away is more, more of them is less: the same request without them was possible before.
        assert {each for each in new if each[-1] is not False} == set()


@settings(max_examples=80, deadline=None)
@given(sandboxes(), st.data())
def test_who_only_loses_something_does_not_widen(before, data):
    def some(items):
        return tuple(item for item in items if data.draw(st.booleans()))

    after = replace(
        before,
        workspaces=some(before.workspaces),
        ports=some(before.ports),
        mounts=some(before.mounts),
        policy=replace(before.policy, credentials=some(before.policy.credentials)),
    )
    assert [each for each in shifts(before, after) if each.direction == "widens"] == []


# --- templates and plans -----------------------------------------------------------------------------------------


DEBIAN = Origin("debian", "trixie")


def template(name="dev", origin=DEBIAN, files=(), run=(), policy=NO_POLICY, digest="d"):
    placed = tuple(PlacedFile(target, 0o644, "sha256:x", source) for source, target in files)
    steps = (
        *([BuildStep("files", files=placed)] if placed else []),
        *(BuildStep("run", command=(each,)) for each in run),
    )
    return DesiredTemplate(name, Recipe(origin, steps, digest=digest), policy)


FILE = ("/h/key", "/etc/key")
BUILT = Origin("dockerfile", digest=f"sha256:{'1' * 64}", dockerfile="Dockerfile", path="/h/ctx")
BUILDER = "its Dockerfile is built by this host's own builder, behind no policy of sbx"


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, template(), []),
        (None, template(files=[FILE]), ["+ its image gets /h/key as /etc/key"]),
        (template(files=[FILE]), template(files=[FILE], digest="e"), []),
        (template(files=[FILE]), template(), ["- no longer: its image gets /h/key as /etc/key"]),
        (
            template(),
            template(origin=BUILT),
            [f"+ {BUILDER} (Dockerfile of context 111111111111)", "+ its builder is given /h/ctx"],
        ),
        (template(origin=BUILT), template(origin=BUILT, digest="e"), []),
        (
            template(origin=BUILT),
            template(),
            [
                f"- no longer: {BUILDER} (Dockerfile of context 111111111111)",
                "- no longer: its builder is given /h/ctx",
            ],
        ),
        (template(), template(origin=Origin("local", "team/x")), ["+ its image begins as docker:team/x"]),
        (template(), template(origin=Origin("oci", "r.example/x:1")), ["+ its image begins as oci:r.example/x:1"]),
        (template(), template(origin=Origin("tar", path="/h/r.tar")), ["+ its image begins as tar:/h/r.tar"]),
        (template(), template(policy=policy("a.test")), []),  # nothing runs
        (template(run=["x"]), template(run=["x"], policy=policy("a.test")), ["+ its build can now reach a.test"]),
        (None, template(run=["x"], policy=policy("a.test")), ["+ its build can reach a.test"]),
        (
            template(run=["x"], policy=policy("a.test")),
            template(run=["x"]),
            ["- its build can no longer reach a.test"],
        ),
    ],
)
def test_a_template_changes_by(before, after, expected):
    marks = {"widens": "+", "tightens": "-"}
    found = [f"{marks[e.direction]} {e.text.removeprefix('template dev: ')}" for e in template_shifts(before, after)]
    assert found == expected


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"digest": f"sha256:{'2' * 64}"}, "Dockerfile of context 222222222222"),
        ({"dockerfile": "other"}, "other of context 111111111111"),
        ({"target": "tests"}, "Dockerfile of context 111111111111, target tests"),
        ({"args": (("A", "1"),)}, f"Dockerfile of context 111111111111, arguments {fingerprint((('A', '1'),))[:12]}"),
    ],
)
def test_every_change_of_what_the_builder_of_this_host_runs_is_more(change, words):
    """Whatever it says now, nothing bounds it; and that it no longer says something else is no less."""
    after = template(origin=replace(BUILT, **change))
    assert [(each.direction, each.text) for each in template_shifts(template(origin=BUILT), after)] == [
        ("widens", f"template dev: {BUILDER} ({words})")
    ]
    assert [each.text for each in image_shifts(PLAIN, after, template(origin=BUILT))] == [
        f"web is made from shell: {BUILDER} ({words})"
    ]


def test_a_sandbox_gets_what_is_in_its_image():
    dev = template(files=[FILE])
    assert [each.text for each in image_shifts(PLAIN, dev)] == [
        "web is made from shell: its image gets /h/key as /etc/key"
    ]
    assert image_shifts(PLAIN, dev, template("old", files=[FILE])) == ()


def test_steps_say_what_they_come_to():
    dev, source = template(files=[FILE]), "/p/sandbox.yaml"
    wider = replace(PLAIN, workspaces=(RW,))
    images = {"d": dev}
    assert planned_shifts([], PLAIN, images) == ()
    assert [each.text for each in planned_shifts([Step("r", UpdateRecord(wider, source), "x")], PLAIN, images)] == [
        "web now sees /s (rw)"
    ]
    created = [Step("d", DeleteSandbox(ID), "x"), Step("c", CreateSandbox(wider, source), "x")]
    assert planned_shifts(created, PLAIN, images) == shifts(PLAIN, wider)  # the same image as before
    other = replace(PLAIN, image=Image("older"))
    assert planned_shifts(created, other, images) == shifts(other, wider) + image_shifts(PLAIN, dev)
    assert planned_shifts(created, None, images) == shifts(None, wider) + image_shifts(PLAIN, dev)
    assert planned_shifts(created[:1], PLAIN, images) == taken_away(PLAIN)
    assert planned_shifts(created[:1], None, images) == ()


def test_a_plan_widens_by_what_its_changes_do():
    more, less = Shift("widens", "mount", "a"), Shift("tightens", "mount", "b")
    plan = Plan(
        "shop", "f", (Change("sandbox a", "update", "x", shifts=(more, less)), Change("sandbox b", "stop", "x"))
    )
    assert widening(plan) == (more,)
