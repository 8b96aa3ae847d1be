"""What `sbx config` prints loads to the same state."""

import json
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from sandboxfile.language.document import parse
from sandboxfile.language.tree import Node, Sequence, Table
from sandboxfile.model.desired import DesiredState
from sandboxfile.model.policy import Rule
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
