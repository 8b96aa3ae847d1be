"""What `sbx config` prints loads to the same state."""

import json
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandboxfile.language.document import parse
from sandboxfile.language.tree import Node, Sequence, Table
from sandboxfile.model.desired import DesiredState
from sandboxfile.model.policy import NO_POLICY, Rule
from sandboxfile.resolve.inputs import PresetFacts, Registry
from sandboxfile.resolve.render import config, to_yaml

FULL = """\
name: shop
defaults: {resources: {memory: 1537m}, env: {"LOW": "0755", D: "$$5 and $${X}"}}
templates:
  dev: {base: debian:bookworm, packages: {apt: [g++, git]}, env: {EDITOR: vim}, user: root}
sandboxes:
  web:
    template: dev
    workspaces: [., "/data:/d:ro"]
    env: {EMPTY: "", YES: "yes", NUM: "1e3", LINES: "a\\nb", NULLISH: "~", DOT: ".", UNI: "é\\u2028"}
    setup: [npm ci, [echo, "a: b", "- c", "#d"]]
    command: [sh, -c, "echo $$HOME"]
    restart: on-failure
    protect: true
  db: {}
"""


def plain(node: Node) -> object:
    if isinstance(node, Table):
        return {entry.key: plain(entry.value) for entry in node.entries}
    return [plain(item) for item in node.items] if isinstance(node, Sequence) else node.value


def read(text: str) -> object:
    document, problems = parse(text, "f")
    assert document is not None
    assert problems == ()
    return plain(document.root)


def test_config_loads_to_the_same_state(new_host):
    state = new_host().directory("/data").state(FULL)
    again = new_host().directory("/data").state(to_yaml(config(state)))
    assert again == state
    assert to_yaml(config(again)) == to_yaml(config(state))


def test_json_and_yaml_say_the_same(host):
    data = config(host.directory("/data").state(FULL))
    assert read(to_yaml(data)) == data
    assert read(json.dumps(data)) == data


TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["no", "Null", "1", "-", "- a", "a: b", ".inf", "1e3", "0x1", "~", "#", "<<", "2026-01-02", "=", "1.", "_1", "/"]
)
VALUES = st.recursive(TEXTS | st.integers() | st.booleans(), lambda inner: st.lists(inner, max_size=3), max_leaves=6)
TREES = st.recursive(
    st.dictionaries(TEXTS, VALUES, min_size=1, max_size=3),
    lambda inner: st.dictionaries(
        TEXTS, inner | st.lists(inner | VALUES, min_size=1, max_size=3), min_size=1, max_size=3
    ),
    max_leaves=6,
)


@settings(deadline=None)
@given(TREES)
def test_yaml_reads_back_to_the_same_data(data):
    assert read(to_yaml(data)) == data


POLICIES = """\
name: shop
policies:
  web:
    inspect: minimal
    allow: [{preset: npm}, "*.example.com", {host: a.example.com, methods: [GET], paths: [/a/**]}, 203.0.113.0/24]
    block: [{cidr: 198.51.100.0/24, until: 2027-01-31, reason: "why: because", owner: team}]
    bypass: [pinned.example.com]
  team: {enforce: true, mode: allow, block: ["**.internal.example.com"]}
  raw: {allow: [{host: db.example.com, port: 5432, protocol: tcp}, plain.example.com]}
sandboxes:
  web: {policy: web, env: {PIP_INDEX_URL: mine}}
  two: {policy: web}
  team: {policy: team}
  inline: {policy: {extends: raw, allow: [localhost:8080]}}
  none: {}
"""


def same(rule: Rule) -> Rule:
    return replace(rule, origin="")


def meaning(state: DesiredState) -> object:
    """What sandboxes are held to, but for who made a rule, and with settings where they end up."""
    return {
        sandbox.id: (
            dict(sandbox.policy.settings) | dict(sandbox.env),
            [
                replace(layer, allow=tuple(map(same, layer.allow)), block=tuple(map(same, layer.block)))
                for layer in sandbox.policy.layers
            ],
        )
        for sandbox in state.sandboxes
    }


def test_policies_of_config_mean_the_same(new_host):
    host = new_host()
    host.presets["npm"] = PresetFacts(
        True, (Registry("https://npm.example.com/"),), (("PIP_INDEX_URL", "theirs"), ("npm_config_registry", "url"))
    )
    state = host.state(POLICIES)
    text = to_yaml(config(state))
    again = new_host().state(text)
    assert meaning(again) == meaning(state)
    assert to_yaml(config(again)) == text
    assert [sandbox.env for sandbox in again.sandboxes if sandbox.id.name == "web"] == [
        (("PIP_INDEX_URL", "mine"), ("npm_config_registry", "url"))
    ]


def test_policies_of_the_host_are_no_part_of_the_file(new_host):
    host = new_host().policy_files(
        machine="policies: {corp: {enforce: true}}", user="default_policy: mine\npolicies: {mine: {allow: [a.example]}}"
    )
    data = config(host.state("sandboxes: {web: {}}"))
    assert "policies" not in data
    assert data["sandboxes"]["web"]["policy"] == {"mode": "deny", "allow": ["a.example"]}


TEMPLATES = """\
name: shop
templates:
  dev:
    base: debian:bookworm
    packages: {apt: [g++, git=1.0], npm: ["@scope/a@1"], pip: ["x[y]>=1,<2"]}
    files: [{source: ./a, target: /etc/a}, {source: /srv/b, target: /b, mode: 0700}]
    run: ["echo $$HOME", [make, "a b"], {command: ls, user: agent}]
    env: {EDITOR: vim, PASSED: null, ABSENT: 1, UNSET: null}
    user: root
    docker: true
    policy: {allow: [{preset: npm}, {preset: pip, until: 2027-01-31}, api.example.com:443], block: [b.example.com]}
  above: {base: dev, policy: web, run: [ls]}
  inherits: {base: above}
  image: {build: {context: ./sandbox, dockerfile: x/Dockerfile, args: {A: "$$1", PASSED: null, UNSET: null}, target: t}}
  short: {build: ./sandbox}
  pinned: {base: "oci:registry.example.com/x:1@sha256:%s"}
  local: {base: "docker:team/x"}
  saved: {base: "saved:team:v1"}
  tar: {base: "tar:./root.tar"}
  bare: {packages: {npm: [x]}}
policies:
  web: {allow: [{preset: npm}]}
  plain: {allow: [api.example.com]}
  named: {allow: [named.example.com]}
sandboxes:
  web: {template: inherits, env: {ABSENT: null, MINE: 1}}
  db: {template: image, policy: plain}
""" % ("a" * 64)


def full(host):
    host.presets["npm"] = PresetFacts(
        True,
        (Registry("https://npm.example.com/"), Registry("https://scoped.example.com/")),
        (("npm_registry", "url"),),
    )
    host.presets["pip"] = PresetFacts(True, (Registry("https://pip.example.com/simple"),))
    host.environment = {"PASSED": "passed"}
    base = "/home/user/project"
    for kind, name, dockerfile in (
        ("file", f"{base}/a", ""),
        ("file", "/srv/b", ""),
        ("tar", f"{base}/root.tar", ""),
        ("context", f"{base}/sandbox", "x/Dockerfile"),
        ("context", f"{base}/sandbox", "Dockerfile"),
        ("local", "team/x", ""),
        ("saved", "team:v1", ""),
    ):
        host.source(kind, name, f"{kind}-{name}-{dockerfile}", dockerfile)
    return host


def same_templates(one: DesiredState, other: DesiredState) -> None:
    """The same images, made by steps from the same places, behind policies that mean the same."""
    assert [(t.name, t.recipe) for t in one.templates] == [(t.name, t.recipe) for t in other.templates]
    for mine, theirs in zip(one.templates, other.templates, strict=True):
        assert mine.recipe.origin.path == theirs.recipe.origin.path
        assert mine.policy.settings == theirs.policy.settings
        for layer, again in zip(mine.policy.layers, theirs.policy.layers, strict=True):
            assert (layer.mode, layer.inspect, layer.enforced) == (again.mode, again.inspect, again.enforced)
            assert list(map(same, layer.allow)) == list(map(same, again.allow))
            assert layer.block == again.block


def test_templates_of_config_are_made_into_the_same_images(new_host):
    state = full(new_host()).state(TEMPLATES)
    text = to_yaml(config(state))
    again = full(new_host()).state(text)
    same_templates(state, again)
    assert [replace(s, policy=NO_POLICY) for s in again.sandboxes] == [
        replace(s, policy=NO_POLICY) for s in state.sandboxes
    ]
    assert to_yaml(config(again)) == text


def test_templates_are_printed_in_full_with_absolute_paths(new_host):
    templates = config(full(new_host()).state(TEMPLATES))["templates"]
    assert templates["dev"] == {
        "base": "debian:bookworm",
        "packages": {"apt": ["g++", "git=1.0"], "npm": ["@scope/a@1"], "pip": ["x[y]>=1,<2"]},
        "files": [
            {"source": "/home/user/project/a", "target": "/etc/a", "mode": "0644"},
            {"source": "/srv/b", "target": "/b", "mode": "0700"},
        ],
        "run": [
            {"command": ["/bin/sh", "-c", "echo $$HOME"], "user": "root"},
            {"command": ["make", "a b"], "user": "root"},
            {"command": ["/bin/sh", "-c", "ls"], "user": "agent"},
        ],
        "env": {"EDITOR": "vim", "PASSED": None, "ABSENT": "1", "UNSET": None},
        "user": "root",
        "docker": True,
        "policy": {
            "mode": "deny",
            "allow": [{"preset": "npm"}, {"preset": "pip", "until": "2027-01-31"}, "api.example.com:443"],
            "block": ["b.example.com"],
        },
    }
    assert templates["image"] == {
        "build": {
            "context": "/home/user/project/sandbox",
            "dockerfile": "x/Dockerfile",
            "args": {"A": "$$1", "PASSED": "passed"},
            "target": "t",
        }
    }
    assert templates["bare"] == {"base": "shell", "packages": {"npm": ["x"]}}
    assert "base" not in templates  # the built-in ones are there without being written


WORDS = st.sampled_from(["A", "B", "C"])
LEVEL = st.fixed_dictionaries(
    {},
    optional={
        "packages": st.fixed_dictionaries(
            {},
            optional={
                "apt": st.lists(st.sampled_from(["git", "git=1", "vim"]), max_size=3),
                "npm": st.lists(st.sampled_from(["a", "@s/b@1"]), max_size=2),
                "pip": st.lists(st.sampled_from(["x", "y[z]==1.*"]), max_size=2),
            },
        ),
        "files": st.lists(
            st.fixed_dictionaries(
                {"source": st.sampled_from(["./a", "~/project/a", "/srv/b"]), "target": st.sampled_from(["/x", "/y"])},
                optional={"mode": st.sampled_from(["0755", "600"])},
            ),
            max_size=2,
            unique_by=lambda item: item["target"],
        ),
        "run": st.lists(
            st.sampled_from(["ls", "echo $$A: # '"])
            | st.lists(st.sampled_from(["a", "$$", " "]), min_size=1, max_size=3).filter(lambda words: words[0].strip())
            | st.fixed_dictionaries({"command": st.just("id")}, optional={"user": st.just("agent")}),
            max_size=3,
        ),
        "env": st.dictionaries(WORDS, st.none() | st.sampled_from(["", "1", "~", "$$"]), max_size=3),
        "user": st.sampled_from(["root", "agent"]),
        "docker": st.booleans(),
        "policy": st.sampled_from(["web", "plain", "named", {}, {"allow": [{"preset": "npm"}]}]),
    },
)
BASES = ("debian:trixie", "ubuntu:noble", "oci:alpine", "tar:./root.tar", "saved:team:v1", "shell", "base")


# The fixture is a class, and makes a host for each.
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(LEVEL, st.integers(0, 20)), min_size=1, max_size=4),
    st.dictionaries(WORDS, st.none() | st.just("mine"), max_size=3),
    st.sets(WORDS),
)
def test_config_of_any_chain_of_templates_loads_to_the_same_images(new_host, levels, env, known):
    templates: dict[str, dict[str, object]] = {}
    for number, (level, base) in enumerate(levels):
        choices = (*BASES, *templates)
        templates[f"t{number}"] = {**level, "base": choices[base % len(choices)]}
    policies = {
        "web": {"allow": [{"preset": "npm"}]}, "plain": {"allow": ["api.example.com"]}, "named": {},
    }  # fmt: skip
    sandboxes = {"web": {"template": f"t{len(levels) - 1}", "env": env}}
    text = json.dumps({"name": "shop", "templates": templates, "policies": policies, "sandboxes": sandboxes})

    def host():
        made = full(new_host())
        made.presets["apt"] = PresetFacts(True, (Registry("http://apt.example.com/debian"),))
        made.environment = dict.fromkeys(known, "outside")
        return made

    state = host().state(text)
    again = host().state(to_yaml(config(state)))
    same_templates(state, again)
    (before,), (after,) = state.sandboxes, again.sandboxes
    assert replace(after, policy=NO_POLICY) == replace(before, policy=NO_POLICY)
