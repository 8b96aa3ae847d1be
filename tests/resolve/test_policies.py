"""Which layers a sandbox is held to, in which order, and what stands in each."""

import pytest

from sandboxfile.model.policy import NO_POLICY, Layer, Rule
from sandboxfile.model.spec import EXTENDS_LIMIT
from sandboxfile.policy.compiled import compile_policy
from sandboxfile.resolve import policies
from sandboxfile.resolve.inputs import PresetFacts, Registry
from sandboxfile.resolve.policies import policy_tests, resolve_policies


def names(host, text):
    return [layer.name for layer in host.only(text).policy.layers]


def allowed(layer):
    return [rule.pattern for rule in layer.allow]


def test_a_sandbox_that_asks_for_nothing_reaches_nothing(host):
    policy = host.only("sandboxes: {web: {}}").policy
    assert policy == NO_POLICY
    assert policy.own.place == "sandbox.yaml:1:13"


def test_every_form_of_a_rule_is_one_rule(host):
    policy = host.only(
        "policies:\n"
        "  p:\n"
        "    inspect: minimal\n"
        "    allow:\n"
        "      - API.Example.COM.:443\n"
        "      - {host: api.example.org, methods: [post, GET, get], paths: [/a/**, /b], until: 2027-01-31}\n"
        "      - {host: 2001:db8::1, port: 5432, protocol: tcp, reason: data, owner: team}\n"
        "    block: ['0xcb007105', 203.0.113.0/24, {cidr: 2001:DB8::/32}]\n"
        "    bypass: ['*.example.net']\n"
        "sandboxes: {web: {policy: p}}\n"
    ).policy
    assert policy.own == Layer(
        "policy p",
        "deny",
        allow=(
            Rule("api.example.com:443"),
            Rule("api.example.org", methods=("GET", "POST"), paths=("/a/**", "/b"), until="2027-01-31"),
            Rule("[2001:db8::1]:5432", "tcp"),
        ),
        block=(Rule("203.0.113.5"), Rule("203.0.113.0/24"), Rule("2001:db8::/32")),
        bypass=(Rule("*.example.net"),),
        inspect="minimal",
    )
    assert policy.own.place == "sandbox.yaml:2:3"
    assert [rule.place for rule in policy.own.allow] == [f"sandbox.yaml:{line}:9" for line in (5, 6, 7)]
    assert (policy.own.allow[2].reason, policy.own.allow[2].owner) == ("data", "team")
    assert compile_policy(policy)


@pytest.mark.parametrize("written", ["2027-01-31", '"2027-01-31"'])
def test_a_date_may_be_quoted(host, written):
    (rule,) = host.only(f"sandboxes: {{a: {{policy: {{allow: [{{host: a.b, until: {written}}}]}}}}}}").policy.own.allow
    assert rule.until == "2027-01-31"


def test_layers_are_machine_user_file_and_own(host):
    host.policy_files(
        machine="policies: {corp: {enforce: true}, audit: {enforce: true}, unused: {}}",
        user="policies: {mine: {enforce: true}, other: {}}",
    )
    text = "policies: {z: {enforce: true}, a: {enforce: true}, p: {}}\nsandboxes: {web: {policy: p}}"
    layers = host.only(text).policy.layers
    assert [layer.name for layer in layers] == [
        "machine policy audit", "machine policy corp", "user policy mine", "policy a", "policy z", "policy p",
    ]  # fmt: skip
    assert [layer.enforced for layer in layers] == [True] * 5 + [False]
    assert layers[0].place == "/etc/policy.yaml:1:35"
    assert layers[2].place == "~/policy.yaml:1:12"


def test_an_enforced_policy_holds_also_the_sandbox_that_chose_it(host):
    """Its own layer is what commands change; the enforced one is not."""
    layers = host.only("policies: {team: {enforce: true}}\nsandboxes: {web: {policy: team}}").policy.layers
    assert [(layer.name, layer.enforced) for layer in layers] == [("policy team", True), ("policy team", False)]


def test_names_are_looked_up_in_the_file_then_the_users_then_the_machines(host):
    host.policy_files(
        machine="policies: {all: {allow: [m.example.com]}, corp: {}}", user="policies: {all: {allow: [u.example.com]}}"
    )
    assert names(host, "sandboxes: {web: {policy: corp}}") == ["machine policy corp"]
    assert names(host, "sandboxes: {web: {policy: all}}") == ["user policy all"]
    assert names(host, "policies: {all: {}}\nsandboxes: {web: {policy: all}}") == ["policy all"]


def test_no_project_changes_what_a_policy_of_the_user_stands_on(host):
    host.policy_files(
        machine="policies: {base: {allow: [m.example.com]}}", user="policies: {mine: {extends: base, enforce: true}}"
    )
    text = "policies: {base: {mode: allow, allow: ['*']}}\nsandboxes: {web: {policy: base}}"
    mine, own = host.only(text).policy.layers
    assert (mine.mode, allowed(mine)) == ("deny", ["m.example.com"])
    assert own.mode == "allow"


def test_the_users_choice_is_for_sandboxes_that_name_none(host):
    host.policy_files(
        machine="policies: {corp: {allow: [m.example.com]}}",
        user="default_policy: corp\npolicies: {mine: {}}",
    )
    text = "policies: {corp: {mode: allow}}\nsandboxes: {web: {}}"
    assert names(host, text) == ["machine policy corp"]
    assert names(host, "sandboxes: {web: {policy: {}}}") == ["policy of sandbox web"]
    assert names(host, "defaults: {policy: mine}\nsandboxes: {web: {}}") == ["user policy mine"]


def test_a_wrong_policy_file_of_the_user_stops_everything(host):
    host.policy_files(user="policies: {mine: {mode: open}}")
    desired, problems = host.resolve("sandboxes: {web: {}}")
    assert desired is None
    assert [(problem.summary, problem.span.file) for problem in problems] == [("Unsupported value", "~/policy.yaml")]


# --- extends -----------------------------------------------------------------------------------------------------


def test_bases_come_first_and_equal_rules_once(host):
    own = host.only(
        "policies:\n"
        "  a: {mode: allow, inspect: minimal, allow: [one.example.com, two.example.com]}\n"
        "  b: {extends: a, allow: [{host: TWO.example.com, reason: again}, three.example.com],"
        " block: [x.example.com]}\n"
        "  c: {extends: [b, a], mode: deny, allow: [one.example.com, four.example.com], bypass: [one.example.com]}\n"
        "sandboxes: {web: {policy: c}}\n"
    ).policy.own
    assert allowed(own) == ["one.example.com", "two.example.com", "three.example.com", "four.example.com"]
    assert [rule.pattern for rule in own.block] == ["x.example.com"]
    assert (own.mode, own.inspect, own.name) == ("deny", "minimal", "policy c")
    assert own.allow[0].place == "sandbox.yaml:2:46"


def test_mode_and_inspection_are_those_of_the_last_base_unless_given(host):
    text = "policies: {{open: {{mode: allow, inspect: minimal}}, shut: {{}}, p: {}}}\nsandboxes: {{web: {{policy: p}}}}"
    assert host.only(text.format("{extends: [shut, open]}")).policy.own.mode == "allow"
    assert host.only(text.format("{extends: [open, shut]}")).policy.own.mode == "deny"
    own = host.only(text.format("{extends: open, mode: deny, inspect: full}")).policy.own
    assert (own.mode, own.inspect) == ("deny", "full")


def test_enforcement_and_tests_are_not_inherited(host):
    text = (
        "policies: {t: {enforce: true, tests: {deny: [a.example.com]}}, p: {extends: t}}\nsandboxes: {web: {policy: p}}"
    )
    assert names(host, text) == ["policy t", "policy p"]
    assert [test.name for test in policy_tests(*host.inputs(text))] == ["policy t"]


def test_inline_policies_of_defaults_and_sandbox_merge_as_maps_do(host):
    text = (
        "policies: {{open: {{mode: allow, allow: [o.example.com]}}}}\n"
        "defaults: {{policy: {{mode: {}, block: [x.example.com]}}}}\nsandboxes: {{web: {{policy: {}}}}}"
    )
    own = host.only(text.format("allow", "{allow: [y.example.com]}")).policy.own
    assert (own.name, own.mode, allowed(own)) == ("policy of sandbox web", "allow", ["y.example.com"])
    assert [rule.pattern for rule in own.block] == ["x.example.com"]
    assert host.only(text.format("allow", "{mode: deny}")).policy.own.mode == "deny"
    assert host.only(text.format("deny", "{extends: open}")).policy.own.mode == "deny"
    named = host.only(text.format("allow", "open")).policy.own
    assert (named.name, named.block) == ("policy open", ())


def test_a_tower_within_the_limit_loses_nothing_in_any_file(host):
    def tower(letter, beneath):
        floors = [f"{letter}{n}: {{extends: {letter}{n - 1}, block: [{letter}{n}.example.com]}}" for n in range(1, 16)]
        return f"policies: {{{letter}0: {{block: [{letter}0.example.com]{beneath}}}, {', '.join(floors)}}}\n"

    assert EXTENDS_LIMIT == 16
    host.policy_files(machine=tower("m", ""), user=tower("u", ", extends: m15"))
    text = tower("p", ", extends: u15") + "sandboxes: {web: {policy: p15}}"
    assert len(host.only(text).policy.own.block) == 48


def test_a_lattice_of_policies_costs_no_more_than_its_size(host):
    floors = [
        f"p{n}: {{extends: [p{n - 1}, p{n - 1}, p{n - 1}, p{n - 1}], allow: [a{n}.example.com]}}" for n in range(1, 16)
    ]
    text = f"policies: {{p0: {{}}, {', '.join(floors)}}}\nsandboxes: {{web: {{policy: p15}}}}"
    assert len(host.only(text).policy.own.allow) == 15


def test_circles_end_though_the_file_is_wrong():
    from sandboxfile.language.validate import load
    from sandboxfile.resolve.inputs import ResolveInputs

    every = [f"p{n}" for n in range(40)]
    text = "policies:\n" + "".join(f"  {name}: {{extends: [{', '.join(every)}]}}\n" for name in every)
    file, _, problems = load(text + "sandboxes: {web: {policy: p0}}\n", "f")
    assert "Policy cycle" in {problem.summary for problem in problems}
    found, _ = resolve_policies(file, ResolveInputs("/p/f", "/home", (), {}, {}))
    assert found.sandboxes["web"].own.mode == "deny"


def test_there_are_bounds_for_a_sandbox_and_a_project(host, monkeypatch):
    text = "policies: {p: {block: [a.example.com, b.example.com]}}\nsandboxes: {a: {policy: p}, b: {policy: p}}"
    assert host.summaries(text) == []
    monkeypatch.setattr(policies, "PROJECT_RULES", 3)
    assert host.summaries(text) == ["Too many rules"]
    assert host.summaries(text.replace("]}}", "], tests: {deny: [a]}}}").replace(", b: {policy: p}", "")) == []
    tests = "q: {extends: p, tests: {deny: [a.b]}}, r: {extends: p, tests: {deny: [b.b]}}"
    assert host.summaries(f"policies: {{p: {{block: [a.b, b.b]}}, {tests}}}\nsandboxes: {{}}") == ["Too many rules"]
    monkeypatch.setattr(policies, "SANDBOX_RULES", 1)
    assert host.summaries(text) == ["Too many rules"]


# --- presets and days --------------------------------------------------------------------------------------------

NPM = PresetFacts(True, (Registry("https://npm.example.com/"),))


def test_a_preset_is_the_hosts_own_registries_by_host_and_port(host):
    host.presets["npm"] = PresetFacts(
        True,
        (
            Registry("https://npm.example.com/"),
            Registry("http://mirror.example.com/npm"),
            Registry("https://Scoped.example.com:8443/a/"),
            Registry("https://npm.example.com/other"),
            Registry("https://[2001:db8::1]/"),
        ),
        (("npm_config_registry", "http://mirror.example.com/npm"),),
    )
    text = (
        "policies: {p: {allow: [{preset: npm, until: 2027-01-31}, a.example.com]}}\n"
        "sandboxes: {web: {policy: p}, db: {}}"
    )
    db, web = host.state(text).sandboxes
    assert allowed(web.policy.own) == [
        "npm.example.com:443",
        "mirror.example.com:80",
        "scoped.example.com:8443",
        "[2001:db8::1]:443",
        "a.example.com",
    ]
    assert {(rule.origin, rule.until, rule.place) for rule in web.policy.own.allow[:4]} == {
        ("preset npm", "2027-01-31", "sandbox.yaml:1:24")
    }
    assert web.policy.settings == (("npm_config_registry", "http://mirror.example.com/npm"),)
    assert db.policy == NO_POLICY


def test_a_registry_on_this_host_is_reached_by_the_name_that_this_host_has_inside(host):
    host.presets["pip"] = PresetFacts(
        True,
        (Registry("http://127.0.0.1:3141/simple"), Registry("http://localhost:8081/simple")),
        (
            ("PIP_INDEX_URL", "http://127.0.0.1:3141/simple"),
            ("PIP_EXTRA_INDEX_URL", "http://localhost:8081/simple https://a.b/"),
        ),
    )
    policy = host.only("sandboxes: {web: {policy: {allow: [{preset: pip}]}}}").policy
    assert allowed(policy.own) == ["localhost:3141", "localhost:8081"]
    assert policy.settings == (
        ("PIP_EXTRA_INDEX_URL", "http://host.docker.internal:8081/simple https://a.b/"),
        ("PIP_INDEX_URL", "http://host.docker.internal:3141/simple"),
    )


def test_a_preset_that_this_host_knows_nothing_about_is_an_error(host):
    host.presets["npm"] = PresetFacts()
    desired, (problem,) = host.resolve("sandboxes: {web: {policy: {allow: [{preset: npm}]}}}")
    assert desired is None
    assert problem.summary == "No registry"
    assert "This host has no npm configuration" in problem.detail
    assert "write the host" in problem.hint
    assert (problem.span.line, problem.span.column) == (1, 36)


def test_credentials_that_stay_on_the_host_are_a_warning(host):
    host.presets["npm"] = PresetFacts(True, (Registry("https://npm.example.com/", "~/.npmrc"),))
    desired, (problem,) = host.resolve("sandboxes: {web: {policy: {allow: [{preset: npm}]}}}")
    assert desired is not None
    assert problem.summary == "Credentials left out"
    assert "~/.npmrc" in problem.detail


def test_a_registry_that_names_no_host_is_a_warning(host):
    host.presets["npm"] = PresetFacts(True, (Registry("https://under score.example.com/"),))
    desired, (problem,) = host.resolve("sandboxes: {web: {policy: {allow: [{preset: npm}]}}}")
    assert desired.sandboxes[0].policy.own.allow == ()
    assert problem.summary == "Unusable registry"


def test_presets_of_unused_policies_of_the_user_are_no_ones_problem(host):
    host.policy_files(user="policies: {mine: {allow: [{preset: npm}], tests: {deny: [a.example.com]}}}")
    assert host.summaries("sandboxes: {web: {}}") == []
    assert host.summaries("sandboxes: {web: {policy: mine}}") == ["No registry"]


def test_a_rule_counts_on_its_last_day(host):
    text = "sandboxes: {{web: {{policy: {{block: [{{host: a.example.com, until: {}}}]}}}}}}"
    assert host.summaries(text.format("2026-11-21")) == []
    assert host.summaries(text.format("2026-11-20")) == ["Rule expired"]


# --- tests -------------------------------------------------------------------------------------------------------


def test_tests_are_about_one_policy_by_itself(host):
    host.policy_files(user="policies: {mine: {enforce: true, tests: {deny: [a.example.com]}}}")
    text = (
        "policies: {p: {allow: [a.example.com], tests: {allow: [a.example.com, b.example.com]}}, q: {}}\n"
        "sandboxes: {web: {policy: {tests: {deny: [c.example.com]}}}}"
    )
    first, inline, mine = policy_tests(*host.inputs(text))
    assert (first.name, first.place, first.allow, first.deny) == (
        "policy p", "sandbox.yaml:1:12", ("a.example.com", "b.example.com"), (),
    )  # fmt: skip
    assert [layer.name for layer in first.policy.layers] == ["policy p"]
    assert [(span.line, span.column) for span in first.allow_spans] == [(1, 56), (1, 71)]
    assert (inline.name, mine.name) == ("policy of sandbox web", "user policy mine")
