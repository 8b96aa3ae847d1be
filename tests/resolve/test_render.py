"""What `sbx config` prints loads to the same state."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from sandboxfile.language.document import parse
from sandboxfile.language.tree import Node, Sequence, Table
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
    lambda inner: st.dictionaries(TEXTS, inner | st.lists(inner, min_size=1, max_size=2), min_size=1, max_size=3),
    max_leaves=6,
)


@settings(deadline=None)
@given(TREES)
def test_yaml_reads_back_to_the_same_data(data):
    assert read(to_yaml(data)) == data
