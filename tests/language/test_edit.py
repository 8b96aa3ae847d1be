"""Edits of ugly files: what is asked is there afterwards, and everything else is as it was, to the byte."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandboxfile.language.document import parse
from sandboxfile.language.edit import add_rules

API = "api.example.com:443"


def edited(text, sandbox="web", **changes):
    """The text after an edit, which must succeed; doing it again changes nothing."""
    result, problems = add_rules(text, "sandbox.yaml", sandbox, **changes)
    assert problems == ()
    assert parse(result, "sandbox.yaml")[0].whole
    assert add_rules(result, "sandbox.yaml", sandbox, **changes) == (result, ())
    return result


def refused(text, sandbox="web", **changes):
    """The one problem of an edit that is refused."""
    result, problems = add_rules(text, "sandbox.yaml", sandbox, **(changes or {"allow": [API]}))
    assert result is None
    [problem] = problems
    assert problem.hint
    return problem


TABLE = {
    "a sandbox without a policy": (
        "# top\nsandboxes:\n  web:\n    workspaces: [.]   # mine\n\n  # the other\n  db: {}\n",
        {"allow": [API]},
        "# top\nsandboxes:\n  web:\n    workspaces: [.]   # mine\n    policy:\n      allow:\n"
        "        - api.example.com:443\n\n  # the other\n  db: {}\n",
    ),
    "the indentation of the file": (
        "sandboxes:\n    web:\n        env:\n            A: b\n",
        {"allow": [API], "mode": "deny"},
        "sandboxes:\n    web:\n        env:\n            A: b\n        policy:\n            mode: deny\n"
        "            allow:\n                - api.example.com:443\n",
    ),
    "a policy by name, with a comment": (
        "sandboxes:\n  web:\n    policy: team  # why\n    env: {A: b}\n",
        {"allow": [API], "block": ["*.ads.example.com"]},
        "sandboxes:\n  web:\n    policy:  # why\n      extends: team\n      allow:\n        - api.example.com:443\n"
        '      block:\n        - "*.ads.example.com"\n    env: {A: b}\n',
    ),
    "a policy by name, in quotes": (
        "sandboxes:\n  web:\n    policy: 'team'\n",
        {"mode": "allow"},
        "sandboxes:\n  web:\n    policy:\n      extends: 'team'\n      mode: allow\n",
    ),
    "a name on a line of its own": (
        "sandboxes:\n  web:\n    policy:  # ours\n      team\n    env: {}\n",
        {"mode": "allow"},
        "sandboxes:\n  web:\n    policy:  # ours\n      \n      extends: team\n      mode: allow\n    env: {}\n",
    ),
    "a name with an anchor that others use": (
        "sandboxes:\n  web:\n    policy: &p team\n  db:\n    policy: *p\n",
        {"allow": [API]},
        "sandboxes:\n  web:\n    policy:\n      extends: &p team\n      allow:\n        - api.example.com:443\n"
        "  db:\n    policy: *p\n",
    ),
    "a name that is an alias": (
        "x-p: &p team\nsandboxes:\n  web: {policy: *p, env: {}}\n",
        {"allow": [API]},
        "x-p: &p team\nsandboxes:\n  web: {policy: {extends: *p, allow: [api.example.com:443]}, env: {}}\n",
    ),
    "a policy that comes with a merge key by name": (
        "x-b: &b {policy: team}\nsandboxes:\n  web:\n    <<: *b\n",
        {"allow": [API]},
        "x-b: &b {policy: team}\nsandboxes:\n  web:\n    <<: *b\n    policy:\n      extends: team\n      allow:\n"
        "        - api.example.com:443\n",
    ),
    "a flow map": (
        "sandboxes: {web: {workspaces: [.]}}",
        {"allow": [API, "*"]},
        'sandboxes: {web: {workspaces: [.], policy: {allow: [api.example.com:443, "*"]}}}',
    ),
    "empty flow maps": (
        "sandboxes: {web: { }}\n",
        {"bypass": ["203.0.113.0/24"]},
        "sandboxes: {web: { policy: {bypass: [203.0.113.0/24]}}}\n",
    ),
    "a flow map without values": (
        "sandboxes: {db, web}\n",
        {"mode": "allow"},
        "sandboxes: {db, web: {policy: {mode: allow}}}\n",
    ),
    "a sandbox that is null": (
        "sandboxes:\n  web:   # empty\n  db: ~\n",
        {"allow": [API]},
        "sandboxes:\n  web:   # empty\n    policy:\n      allow:\n        - api.example.com:443\n  db: ~\n",
    ),
    "a sandbox that is a written null": (
        "sandboxes:\n  web: null  # empty",
        {"allow": [API]},
        "sandboxes:\n  web:  # empty\n    policy:\n      allow:\n        - api.example.com:443",
    ),
    "a list with comments around its end": (
        "sandboxes:\n  web:\n    policy:\n      allow:\n      - a.example.com  # first\n      # - b.example.com\n\n"
        "      # about blocks\n      block: []\n",
        {"allow": [API], "block": ["198.51.100.0/24"]},
        "sandboxes:\n  web:\n    policy:\n      allow:\n      - a.example.com  # first\n      - api.example.com:443\n"
        "      # - b.example.com\n\n      # about blocks\n      block: [198.51.100.0/24]\n",
    ),
    "a last list, and a field after it": (
        "sandboxes:\n  web:\n    policy:\n      allow:\n        - a.example.com\n",
        {"allow": [API], "block": ["c.example.com"]},
        "sandboxes:\n  web:\n    policy:\n      allow:\n        - a.example.com\n        - api.example.com:443\n"
        "      block:\n        - c.example.com\n",
    ),
    "rules that are maps": (
        "sandboxes:\n  web:\n    policy:\n      allow:\n        - {host: a.example.com, methods: [GET]}\n"
        "        - host: b.example.com\n          port: 80\n",
        {"allow": [{"host": "db.example.com", "port": 5432, "protocol": "tcp"}, {"host": "x", "methods": ("GET",)}]},
        "sandboxes:\n  web:\n    policy:\n      allow:\n        - {host: a.example.com, methods: [GET]}\n"
        "        - host: b.example.com\n          port: 80\n"
        "        - {host: db.example.com, port: 5432, protocol: tcp}\n        - {host: x, methods: [GET]}\n",
    ),
    "a flow list over several lines": (
        "sandboxes:\n  web:\n    policy:\n      allow: [\n        a.example.com,\n"
        "        b.example.com,  # b\n      ]\n",
        {"allow": [API, "c.example.com"]},
        "sandboxes:\n  web:\n    policy:\n      allow: [\n        a.example.com,\n        b.example.com,  # b\n"
        "        api.example.com:443,\n        c.example.com,\n      ]\n",
    ),
    "a flow list over several lines without a last comma": (
        "sandboxes:\n  web:\n    policy: {\n      allow: [\n        b.example.com  # b\n      ] }\n",
        {"allow": [API]},
        "sandboxes:\n  web:\n    policy: {\n      allow: [\n        b.example.com,  # b\n        api.example.com:443\n"
        "      ] }\n",
    ),
    "a mode": (
        "sandboxes:\n  web:\n    policy: {mode: 'allow', block: [x.example.com, ]}  # all\n",
        {"mode": "deny", "block": ["*:25"]},
        "sandboxes:\n  web:\n    policy: {mode: deny, block: [x.example.com, \"*:25\", ]}  # all\n",
    ),
    "an empty policy and an empty list": (
        "sandboxes:\n  web:\n    policy:\n  db:\n    policy:\n      allow: # none\n      mode:\n",
        {"sandbox": "db", "allow": [API], "mode": "deny"},
        "sandboxes:\n  web:\n    policy:\n  db:\n    policy:\n      allow: # none\n        - api.example.com:443\n"
        "      mode: deny\n",
    ),
    "line ends of another system": (
        "sandboxes:\r\n  web:\r\n    policy:\r\n      allow:\r\n        - a.example.com #\ttab\r\n    env: {}\r\n",
        {"allow": [API]},
        "sandboxes:\r\n  web:\r\n    policy:\r\n      allow:\r\n        - a.example.com #\ttab\r\n"
        "        - api.example.com:443\r\n    env: {}\r\n",
    ),
    "no line end at the end": (
        "sandboxes:\n  web:\n    policy: team",
        {"allow": [API]},
        "sandboxes:\n  web:\n    policy:\n      extends: team\n      allow:\n        - api.example.com:443",
    ),
    "a block scalar before": (
        "sandboxes:\n  web:\n    x-note: |\n      text\n\n    # about db\n  db: {}\n",
        {"allow": [API]},
        "sandboxes:\n  web:\n    x-note: |\n      text\n\n    policy:\n      allow:\n        - api.example.com:443\n"
        "    # about db\n  db: {}\n",
    ),
    "a block scalar that keeps its end": (
        "sandboxes:\n  web:\n    x-note: |+\n      text\n\n",
        {"mode": "allow"},
        "sandboxes:\n  web:\n    x-note: |+\n      text\n\n    policy:\n      mode: allow\n",
    ),
    "text in many scripts": (
        "# Größe 大きさ 🙂\nsandboxes:\n  web:\n    env: {A: \"🙂\\u00e9\"}  # ünïcödé\n"
        "    policy: {allow: [a.example.com]}\n",
        {"allow": ["xn--bcher-kva.example"]},
        "# Größe 大きさ 🙂\nsandboxes:\n  web:\n    env: {A: \"🙂\\u00e9\"}  # ünïcödé\n"
        "    policy: {allow: [a.example.com, xn--bcher-kva.example]}\n",
    ),
    "addresses that YAML would take for something else": (
        "sandboxes:\n  web:\n    policy: {allow: []}\n",
        {"allow": ["2001:db8::", "[::1]:443", "10", "1e5", "null", "2001:db8::/32"]},
        "sandboxes:\n  web:\n    policy: {allow: [\"2001:db8::\", \"[::1]:443\", \"10\", \"1e5\", \"null\", "
        '"2001:db8::/32"]}\n',
    ),
    "quoted keys": (
        "\"sandboxes\":\n  'web' :\n    \"policy\" : team\n",
        {"mode": "allow"},
        "\"sandboxes\":\n  'web' :\n    \"policy\" :\n      extends: team\n      mode: allow\n",
    ),
    "a policy that it has from elsewhere": (
        "defaults: {policy: team}\nsandboxes:\n  web: {}\n",
        {"allow": [API], "extends": "team"},
        "defaults: {policy: team}\nsandboxes:\n  web: {policy: {extends: team, allow: [api.example.com:443]}}\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLE)
def test_an_edit_changes_what_is_asked_and_nothing_else(case):
    before, changes, after = TABLE[case]
    assert edited(before, **changes) == after


def test_what_is_there_is_not_written_again():
    text = "sandboxes:\n  web:\n    policy: {mode: deny, allow: [api.example.com:443]}\n"
    assert edited(text, allow=[API], mode="deny") == text
    text = "sandboxes:\n  web:\n    policy: team\n"
    assert edited(text) == text
    assert edited("sandboxes: {web: {}}", extends="team") == "sandboxes: {web: {}}"


SHARED = {
    "a policy with an anchor": "sandboxes:\n  web:\n    policy: &p {allow: [a.example.com]}\n  db: {policy: *p}\n",
    "a list with an anchor": "sandboxes:\n  web: {policy: {allow: &p [a.example.com]}}\n  d: {policy: {allow: *p}}\n",
    "a policy that is an alias": "x-p: &p {mode: deny}\nsandboxes:\n  web: {policy: *p}\n",
    "a list that is an alias": "x-p: &p [a.example.com]\nsandboxes:\n  web: {policy: {allow: *p}}\n",
    "a sandbox that is an alias": "x-p: &p {policy: {}}\nsandboxes:\n  web: *p\n",
    "a policy by merge key": "x-p: &p {policy: {mode: deny}}\nsandboxes:\n  web: {<<: *p}\n",
    "a list by merge key": "x-p: &p {allow: [a.example.com]}\nsandboxes:\n  web: {policy: {<<: *p}}\n",
    "all sandboxes by merge key": "x-p: &p {web: {}}\nsandboxes: {<<: *p}\n",
}


@pytest.mark.parametrize("case", SHARED)
def test_an_edit_that_would_change_more_is_refused_with_a_way_out(case):
    problem = refused(SHARED[case])
    assert problem.summary == "Cannot edit"
    assert "extends" in problem.hint
    assert problem.span is not None


@pytest.mark.parametrize(
    "text",
    [
        "sandboxes:\n  web:\n    policy:\n      allow:\n        -\n        - - a\n",
        "sandboxes:\n  web:\n    policy:\n      allow:\n        -\n          a.example.com\n",
        "sandboxes:\n  ? web\n  : policy: >-\n      team\n",
    ],
)
def test_what_cannot_be_edited_is_refused_and_never_guessed(text):
    result, problems = add_rules(text, "sandbox.yaml", "web", allow=[API])
    if result is None:
        assert [problem.summary for problem in problems] == ["Cannot edit"]
    else:  # then it was understood
        assert edited(text, allow=[API]) == result


def test_a_sandbox_of_another_file_is_unknown_and_a_wrong_file_says_so():
    assert refused("sandboxes: {db: {}}").summary == "Unknown sandbox"
    result, problems = add_rules("sandboxes: {web: [}", "sandbox.yaml", "web", allow=[API])
    assert (result, bool(problems)) == (None, True)


LINES = st.sampled_from(
    [
        "    env: {A: b}  # e",
        "    # a comment",
        "",
        "    x-a: |\n      text\n       more",
        "    x-b: >+\n      kept\n\n",
        "    x-c:",
        "    x-d: [1,\n      2]",
        "    x-e:\n    - a\n    - b # c",
        "    x-f: {k: , j}",
        '    x-g: "a\n\n      b"',
        "      # deep",
        "# shallow",
    ]
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(LINES, unique=True, max_size=5),
    st.lists(LINES, unique=True, max_size=5),
    st.sampled_from(
        [
            "",
            "    policy: team # t",
            "    policy:\n      allow:\n        - a.example.com # a",
            "    policy:\n      allow: [a.example.com] # a\n      # end",
            "    policy: {mode: allow}",
        ]
    ),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_whatever_surrounds_a_policy_stays_to_the_byte(above, below, policy, newline, ended):
    lines = ["sandboxes:", "  web:", *above, policy, *(line for line in below if line not in above), "  db: {}"]
    text = "\n".join(line for line in lines if line or policy).replace("\n", newline) + newline * ended
    if parse(text, "f")[0] is None or not parse(text, "f")[0].whole:
        return
    after = edited(text, allow=[API])
    kept = iter(after)
    unchanged = text.replace("policy: team # t", "policy: # t")
    assert all(character in kept for character in unchanged)  # a subsequence: nothing was taken away
    there = after.split(newline)
    touched = [line for line in text.split(newline) if line not in there]
    assert set(touched) <= set(policy.split("\n"))
