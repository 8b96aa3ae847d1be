"""Several files as one: the examples of the Compose Specification ("Merge and override"), in our words, as tables."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandboxfile.language.document import parse
from sandboxfile.language.merge import TAGS, check_enforced, merge, settled
from sandboxfile.language.tree import Node, Scalar, Table, find
from sandboxfile.language.tree import Sequence as List


def tree(text: str, name: str = "f") -> Node:
    document, problems = parse(text, name, tags=TAGS)
    assert document is not None, problems
    assert problems == ()
    return document.root


def plain(node: Node) -> object:
    if isinstance(node, Table):
        return {entry.key: plain(entry.value) for entry in node.entries}
    return [plain(item) for item in node.items] if isinstance(node, List) else node.value


def of_sandbox(text: str) -> str:
    return f"sandboxes: {{foo: {{{text}}}}}"


@pytest.mark.parametrize(
    ("beneath", "above", "meant"),
    [
        # maps and scalars
        ("a: 1, b: 2", "b: 3, c: 4", "a: 1, b: 3, c: 4"),
        ("resources: {cpus: 1, memory: 1g}", "resources: {cpus: 2}", "resources: {cpus: 2, memory: 1g}"),
        ("policy: {allow: [a.com]}", "policy: other", "policy: other"),
        ("template: a", "template: ~", "template: ~"),
        # lists
        ("secrets: [a]", "secrets: [b]", "secrets: [a, b]"),
        ("secrets: [a, b]", "secrets: [b, c]", "secrets: [a, b, c]"),
        ("secrets: [a, a]", "secrets: [b, b]", "secrets: [a, a, b, b]"),
        ("setup: [[a, b], c]", "setup: [c, [a, b], [b, a]]", "setup: [[a, b], c, [b, a]]"),
        ("policy: {allow: [{host: a, port: 1}]}", "policy: {allow: [{host: a}, {host: a, port: 1}]}",
         "policy: {allow: [{host: a, port: 1}, {host: a}]}"),
        # commands
        ("command: [echo, foo]", "command: [echo, bar]", "command: [echo, bar]"),
        ("command: echo foo", "command: [echo, bar]", "command: [echo, bar]"),
        ("h: {command: [a], retries: 3}", "h: {command: [b]}", "h: {command: [b], retries: 3}"),
        # what is the same by its target
        ("volumes: ['foo:/work']", "volumes: ['bar:/work']", "volumes: ['bar:/work']"),
        ("volumes: ['foo:/work']", "volumes: ['foo:/other']", "volumes: ['foo:/work', 'foo:/other']"),
        ("ports: ['8080:80', '1:1']", "ports: ['8443:80']", "ports: ['8443:80', '1:1']"),
        ("ports: ['8080:80']", "ports: [{host: 9, guest: 80}]", "ports: [{host: 9, guest: 80}]"),
        ("ports: [{host: 9, guest: 80, address: '::1'}]", "ports: [{host: 8, guest: 80}]",
         "ports: [{host: 8, guest: 80, address: '::1'}]"),
        ("workspaces: [., ../b]", "workspaces: ['./c', './']", "workspaces: [{source: ./}, ../b, ./c]"),
        ("workspaces: ['a:/x:ro']", "workspaces: ['b:/x']", "workspaces: [{source: b, target: /x, mode: ro}]"),
        ("workspaces: ['a:/x:ro']", "workspaces: ['a:/x:rw']", "workspaces: [{source: a, target: /x, mode: rw}]"),
        ("workspaces: [{source: ., protect: [a]}]", "workspaces: [{source: ., protect: [b]}]",
         "workspaces: [{source: ., protect: [a, b]}]"),
        # short and long forms
        ("env: {A: 1, B: 2}", "env: [B=3, C]", "env: {A: 1, B: '3', C: }"),
        ("env: [A=1, B=2]", "env: [B=3]", "env: {A: '1', B: '3'}"),
        ("env_file: a", "env_file: [b, a]", "env_file: [a, b]"),
        ("env_file: a", "env_file: b", "env_file: [a, b]"),
        ("policy: {extends: a}", "policy: {extends: b}", "policy: {extends: [a, b]}"),
        ("extends: a", "extends: b", "extends: b"),
        # marks
        ("ports: ['8080:80'], env: {FOO: BAR}", "ports: !reset [], env: {FOO: !reset }", "env: {}"),
        ("ports: ['8080:80']", "ports: !override ['8443:443']", "ports: ['8443:443']"),
        ("policy: {mode: allow, block: [a]}", "policy: !override {allow: [b]}", "policy: {allow: [b]}"),
        ("resources: {cpus: 2}", "resources: {cpus: !override 3}", "resources: {cpus: 3}"),
        ("a: !reset 1", "a: 2", "a: 2"),
        ("a: !reset 1", "b: 2", "b: 2"),
    ],
)  # fmt: skip
def test_files_merge_as_in_compose(beneath: str, above: str, meant: str) -> None:
    merged, problems = settled(merge(tree(of_sandbox(beneath)), tree(of_sandbox(above))))
    assert problems == ()
    assert plain(merged) == plain(tree(of_sandbox(meant)))


def test_names_are_no_fields() -> None:
    beneath, above = (
        tree("sandboxes: {workspaces: {template: 'a:b:ro'}, env: {a: 1}}"),
        tree("sandboxes: {env: {b: 2}}"),
    )
    merged = merge(beneath, above)
    assert plain(merged) == {"sandboxes": {"workspaces": {"template": "a:b:ro"}, "env": {"a": 1, "b": 2}}}


def test_every_part_keeps_the_place_it_was_written_at() -> None:
    merged = merge(tree(of_sandbox("a: 1, l: [x]"), "one"), tree(f"x-y: 1\n{of_sandbox('b: 2, l: [y]')}", "two"))
    places = {path[-1]: str(found[0].span) for path in (
        ("sandboxes", "foo", "a"), ("sandboxes", "foo", "b"), ("sandboxes", "foo", "l", 0), ("sandboxes", "foo", "l", 1)
    ) if (found := find(merged, path))}  # fmt: skip
    assert places == {"a": "one:1:22", "b": "two:2:22", 0: "one:1:29", 1: "two:2:29"}


def test_marks_hold_for_what_a_file_is_merged_upon_later() -> None:
    """`sandbox.yaml` and its override are merged before a sandbox is put upon what it extends."""
    own = merge(tree("{ports: [a], env: {A: 1}}"), tree("{ports: !reset [], env: !override {B: 2}}"))
    merged, _ = settled(merge(tree("{ports: [b], env: {C: 3}}"), merge(own, tree("{env: {D: 4}}"))))
    assert plain(merged) == {"env": {"B": 2, "D": 4}}
    again, _ = settled(merge(tree("{ports: [b]}"), merge(own, tree("{ports: [c]}"))))
    assert plain(again) == {"ports": ["c"], "env": {"B": 2}}


def test_only_fields_are_reset() -> None:
    for text in ("!reset {a: 1}", "a: [!reset b]", "a: [!override [b]]"):
        assert [problem.summary for problem in settled(tree(text))[1]] == ["Tag not applicable"]


ENFORCED = "policies: {team: {enforce: true, allow: [a.com]}}"


@pytest.mark.parametrize(
    "other",
    [
        "policies: {team: {allow: [b.com]}}",
        "policies: {team: {enforce: false}}",
        "policies: {team: {mode: allow}}",
        "policies: {team: {bypass: ['*']}}",
        "policies: {team: {extends: other}}",
        "policies: {team: {allow: !override ['*']}}",
        "policies: {team: !reset }",
        "policies: {team: !override {mode: allow}}",
        "policies: {team: }",
    ],
)
def test_an_enforced_policy_is_of_one_file_beneath_and_above(other: str) -> None:
    for beneath, above in ((ENFORCED, other), (other, ENFORCED)):
        found = list(check_enforced(tree(beneath, "beneath"), tree(above, "above")))
        assert [problem.summary for problem in found] == ["Enforced policy changed"]
        assert found[0].span is not None
        assert found[0].span.file == ("above" if above is other else "beneath")


@pytest.mark.parametrize("above", ["policies: !reset {}", "policies: !override {}", "!override {}", "!reset {a: 1}"])
def test_an_enforced_policy_is_not_swept_away(above: str) -> None:
    assert [problem.summary for problem in check_enforced(tree(ENFORCED), tree(above, "g"))] == [
        "Enforced policy changed"
    ]


def test_a_file_that_is_there_twice_and_other_policies_change_nothing_enforced() -> None:
    assert list(check_enforced(tree(ENFORCED), tree(ENFORCED))) == []
    assert list(check_enforced(tree(ENFORCED), tree("policies: {own: {extends: team}}", "g"))) == []
    assert (
        list(check_enforced(tree(ENFORCED.replace("true", "false")), tree("policies: {team: {mode: deny}}", "g"))) == []
    )


values = st.recursive(
    st.sampled_from(["a", "b:/c", "!reset x", "!override y", "1", ""]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(item or '~' for item in items)}]"),
        st.dictionaries(st.sampled_from(["env", "ports", "workspaces", "extends", "z"]), inner, max_size=3).map(
            lambda entries: f"{{{', '.join(f'{key}: {value}' for key, value in entries.items())}}}"
        ),
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(values, values, values)
def test_no_trees_make_it_crash_in_whatever_order(first: str, second: str, third: str) -> None:
    a, b, c = (tree(f"{{top: {{w: {text}}}}}") for text in (first, second, third))
    assert settled(merge(merge(a, b), c))[0] is not None
    assert isinstance(settled(merge(a, merge(b, c)))[0], Table | Scalar)
