"""What `sbx config` prints loads to the same state."""

import json
from dataclasses import replace

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from sandboxfile.language.document import parse
from sandboxfile.language.tree import Node, Sequence, Table
from sandboxfile.language.validate import load
from sandboxfile.model.desired import DesiredState
from sandboxfile.model.policy import NO_POLICY, Rule
from sandboxfile.resolve.inputs import PresetFacts, Registry
from sandboxfile.resolve.render import config, to_yaml

FULL = """\
name: shop
defaults: {resources: {memory: 1537m}, env: {"LOW": "0755", D: "$$5 and $${X}"}}
templates:
  dev: {base: debian:bookworm, packages: {apt: [g++, git]}, env: {EDITOR: vim}, user: root}
volumes: {data: {size: 1025MiB}, cache: , unused: {size: 2GiB}}
sandboxes:
  web:
    template: dev
    workspaces: [., "/data:/d:ro"]
    env: {EMPTY: "", YES: "yes", NUM: "1e3", LINES: "a\\nb", NULLISH: "~", DOT: ".", UNI: "é\\u2028"}
    setup: [npm ci, [echo, "a: b", "- c", "#d"]]
    command: [sh, -c, "echo $$HOME"]
    restart: on-failure
    healthcheck: {command: "test $$HOME", interval: 1m30s, timeout: 500ms, retries: 7}
    idle_stop: 1h0m30s
    volumes: ["cache:/home/agent/.npm", {volume: data, target: /srv/data}]
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


AGENTS = """\
name: shop
defaults: {git: host, template: shell}
secrets:
  anthropic: {env: ANTHROPIC_API_KEY}
  github: {store: github, inject: [{host: api.github.com, header: Authorization, value: "Bearer {secret}"}]}
  tracker:
    file: ~/.config/tracker/$$token
    env: TRACKER_TOKEN
    inject: [{host: tracker.example.com, header: X-Key, value: "k $$ {secret}"}, {host: "[2001:db8::1]:444", query: k}]
  forge: {command: [./print, "$$x", "a b"], inject: [{host: git.example.com, git: true}, {host: a.example.com}], env: F}
  basic: {store: kept, inject: [{host: "b.example.com:8443", basic: me}, {host: c.example.com, bearer: true}]}
  unused: {env: UNUSED, inject: [{host: x.example.com}]}
policies:
  p: {allow: [a.example.com, {preset: npm}]}
  team: {enforce: true, mode: allow}
sandboxes:
  web: {agent: claude, secrets: [tracker, forge, anthropic], policy: p, ports: ["8080:80", "[::1]:8080:81"]}
  two: {agent: claude, policy: p, env: {DISABLE_AUTOUPDATER: null, GIT_AUTHOR_NAME: me, ANTHROPIC_API_KEY: null}}
  inline: {agent: codex, secrets: [basic, github], policy: {block: [api.openai.com]}}
  plain: {secrets: [github]}
  none: {git: {name: Bob, email: bob@example.com}}
"""


def host_of_agents(made):
    made.environment = {"ANTHROPIC_API_KEY": "x", "OPENAI_API_KEY": "y"}
    made.git_identity = ("Ada", "ada@example.com")
    return made.preset("npm")


def wanted(host, text):
    desired, problems = host.resolve(text)
    assert desired is not None, problems
    return desired


def test_agents_secrets_and_ports_of_config_are_the_same(new_host):
    state = wanted(host_of_agents(new_host()), AGENTS)
    text = to_yaml(config(state))
    again = wanted(host_of_agents(new_host()), text)
    assert meaning(again) == meaning(state)
    for before, after in zip(state.sandboxes, again.sandboxes, strict=True):
        assert (after.agent, after.ports, after.env) == (before.agent, before.ports, before.env)
        assert after.policy.credentials == before.policy.credentials
        assert after.policy.settings == before.policy.settings
    assert to_yaml(config(again)) == text


def test_what_agents_and_secrets_bring_is_not_repeated(host):
    data = config(wanted(host_of_agents(host), AGENTS))
    assert sorted(data["secrets"]) == ["anthropic", "basic", "forge", "github", "tracker"]
    assert data["secrets"]["anthropic"] == {"env": "ANTHROPIC_API_KEY"}
    assert data["policies"]["p"]["allow"] == ["a.example.com", "npm.example.com:443"]
    assert "policy" not in data["sandboxes"]["plain"]
    assert data["sandboxes"]["web"]["secrets"] == ["anthropic", "forge", "tracker"]
    assert data["sandboxes"]["web"]["ports"] == ["127.0.0.1:8080:80", "[::1]:8080:81"]
    assert not any("placeholder" in str(item) or "sbx-secret" in str(item) for item in data["sandboxes"].values())


INJECT = st.fixed_dictionaries({"host": st.sampled_from(["a.example.com", "b.example.com:8443", "::1"])}).flatmap(
    lambda place: st.sampled_from(
        [{}, {"bearer": True}, {"basic": "me"}, {"query": "k"}, {"git": True}, {"header": "X", "value": "{secret} $$"}]
    ).map(lambda way: place | way)
)
SOURCE = st.sampled_from(
    [{"env": "A"}, {"file": "~/a", "env": "A"}, {"store": "a", "env": "A"}, {"command": ["a", "$$"], "env": "A"}]
)
SERVICE = st.sampled_from(
    [
        {"env": "ANTHROPIC_API_KEY"},
        {"store": "x"},
        {"store": "openai"},
        {"file": "~/a", "env": "B"},
        {"store": "x", "inject": [{"host": "api.openai.com", "bearer": True}]},
    ]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    SOURCE,
    st.lists(INJECT, min_size=1, max_size=3, unique_by=str),
    SERVICE,
    st.sampled_from(["anthropic", "openai"]),
    st.sampled_from(["claude", "codex", "shell"]),
    st.sets(st.sampled_from(["ANTHROPIC_API_KEY", "OPENAI_API_KEY"])),
    st.sampled_from([[], ["own"], ["own", "service"], ["service"]]),
)
def test_config_of_any_secrets_loads_to_the_same(new_host, source, inject, service, name, agent, known, listed):
    secrets = {"own": {**source, "inject": inject}, name: service}
    sandbox = {"agent": agent, "template": "shell", "secrets": [name if each == "service" else each for each in listed]}
    text = json.dumps({"name": "shop", "secrets": secrets, "sandboxes": {"web": sandbox}})

    def host():
        made = new_host()
        made.environment = dict.fromkeys(known, "x")
        return made

    file, _, problems = load(text, "f")
    state = host().resolve(text)[0] if file is not None and not problems else None
    event(f"whole: {state is not None}")
    if state is not None:
        assert wanted(host(), to_yaml(config(state))) == state


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
