"""What a sandbox holds of secrets and of its agent: where values are, where they go, what stands inside."""

import pytest

from sandboxfile.agents import find_agent, find_service
from sandboxfile.model.credential import Injection, SecretSource
from sandboxfile.model.policy import NO_POLICY

ANTHROPIC = find_service("anthropic")
KEY = {"ANTHROPIC_API_KEY": "x"}
CLAUDE = "sandboxes: {web: {agent: claude, template: shell}}"


def held(host, text):
    desired, problems = host.resolve(text)
    assert desired is not None, problems
    return desired.sandboxes[0].policy


def tracker(inject, *, secret="env: TOKEN", more=""):
    return f"secrets: {{tracker: {{{secret}, inject: [{inject}]}}}}\nsandboxes: {{web: {{secrets: [tracker]{more}}}}}"


# --- agents ------------------------------------------------------------------------------------------------------


def test_a_sandbox_without_agent_and_secrets_holds_nothing(host):
    host.environment = KEY
    assert host.only("sandboxes: {web: {}}").policy == NO_POLICY


def test_an_agent_gets_what_the_environment_has_for_its_services(host):
    host.environment = KEY
    policy = held(host, CLAUDE)
    (credential,) = policy.credentials
    assert credential.name == "anthropic"
    assert credential.source == SecretSource("env", "ANTHROPIC_API_KEY")
    assert credential.injections == ANTHROPIC.injections
    assert (credential.variable, credential.placeholder) == ("ANTHROPIC_API_KEY", ANTHROPIC.placeholder)
    assert (credential.origin, credential.known, credential.place) == ("agent claude", True, "sandbox.yaml:1:26")
    assert policy.settings == (("ANTHROPIC_API_KEY", ANTHROPIC.placeholder),)


def test_the_first_variable_that_is_set_counts(host):
    host.environment = {"GH_TOKEN": "", "GITHUB_TOKEN": "x"}
    (credential,) = held(host, "sandboxes: {web: {agent: copilot, template: shell}}").credentials
    assert (credential.source.name, credential.variable) == ("GITHUB_TOKEN", "GITHUB_TOKEN")


def test_what_is_stored_under_the_services_name_is_next(host):
    host.stored = frozenset({"anthropic"})
    (credential,) = held(host, CLAUDE).credentials
    assert credential.source == SecretSource("store", "anthropic")
    assert (credential.variable, credential.known) == ("ANTHROPIC_API_KEY", True)
    host.environment = KEY
    (credential,) = held(host, CLAUDE).credentials
    assert credential.source.kind == "env"


def test_without_any_key_the_agent_is_warned_about_once_and_still_reaches_its_service(host):
    desired, problems = host.resolve(CLAUDE)
    assert [problem.summary for problem in problems] == ["No credential"]
    policy = desired.sandboxes[0].policy
    assert policy.credentials == ()
    assert "api.anthropic.com:443" in [rule.pattern for rule in policy.own.allow]


def test_one_of_several_services_is_enough(host):
    host.environment = {"OPENAI_API_KEY": "x"}
    assert len(find_agent("opencode").services) > 1
    assert [c.name for c in held(host, "sandboxes: {web: {agent: opencode, template: shell}}").credentials] == [
        "openai"
    ]
    assert host.summaries("sandboxes: {web: {agent: opencode, template: shell}}") == []


def test_the_hosts_of_an_agent_are_rules_of_the_own_layer(host):
    host.environment = KEY
    own = held(host, CLAUDE).own
    assert (own.name, own.mode) == ("no policy", "deny")
    wanted = {f"{place.host}:{place.port}" for place in ANTHROPIC.injections} | set(find_agent("claude").hosts)
    assert {rule.pattern for rule in own.allow} == wanted
    assert {(rule.origin, rule.place) for rule in own.allow} == {("agent claude", "sandbox.yaml:1:26")}
    assert len(own.allow) == len(wanted)


def test_what_the_sandbox_reaches_does_not_depend_on_the_environment(new_host):
    with_key, without = new_host(), new_host()
    with_key.environment = KEY
    assert held(with_key, CLAUDE).layers == held(without, CLAUDE).layers


def test_the_users_default_policy_holds_an_agent_as_well(host):
    host.environment = KEY
    host.policy_files(
        machine="policies: {corp: {enforce: true, mode: allow, block: [api.anthropic.com]}}",
        user="default_policy: mine\npolicies: {mine: {allow: [a.example.com]}}",
    )
    desired, problems = host.resolve(CLAUDE)
    corp, own = desired.sandboxes[0].policy.layers
    assert (corp.name, own.name) == ("machine policy corp", "user policy mine")
    assert not any(rule.origin for rule in corp.allow)
    assert [rule.pattern for rule in own.allow][:2] == ["a.example.com", "api.anthropic.com:443"]
    (problem,) = problems
    assert problem.summary == "Secret without a way"
    assert "machine policy corp" in problem.detail


def test_an_agent_of_the_defaults_is_everybodys(host):
    host.environment = KEY
    state = host.state("defaults: {agent: claude, template: shell}\nsandboxes: {a: {}, b: {agent: shell}}")
    assert [(item.agent, len(item.policy.credentials)) for item in state.sandboxes] == [("claude", 1), ("shell", 0)]
    assert state.sandboxes[0].policy.own.allow[0].place == "sandbox.yaml:1:19"


def test_an_agent_brings_its_template_unless_one_is_given(host):
    host.preset("npm", "pip", "apt")
    host.environment = KEY
    text = "sandboxes: {a: {agent: claude}, b: {agent: claude, template: base}, c: {agent: shell}}"
    assert [item.template for item in host.state(text).sandboxes] == ["claude", "base", "shell"]
    assert host.only("defaults: {template: base}\nsandboxes: {a: {agent: claude}}").template == "base"


def test_what_an_agent_sets_lies_beneath_everything_that_is_written(host):
    host.environment = KEY
    (name, value), *_ = find_agent("claude").environment
    assert (name, value) in host.only(CLAUDE).env
    text = "templates: {t: {env: {%s: mine}}}\nsandboxes: {web: {agent: claude, template: t%s}}"
    assert (name, "mine") in host.only(text % (name, "")).env
    assert name not in dict(host.only(text % (name, f", env: {{{name}: null}}")).env)


# --- secrets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inject", "expected"),
    [
        ("{host: a.example.com}", Injection("a.example.com")),
        ("{host: A.Example.COM.:8443}", Injection("a.example.com", 8443)),
        ("{host: '2001:db8::1'}", Injection("2001:db8::1")),
        ("{host: a.b, header: X-Key}", Injection("a.b", name="X-Key")),
        ("{host: a.b, header: X-Key, value: 'k {secret}'}", Injection("a.b", name="X-Key", value="k {secret}")),
        ("{host: a.b, bearer: true}", Injection("a.b", name="Authorization", value="Bearer {secret}")),
        ("{host: a.b, basic: me}", Injection("a.b", name="Authorization", value="me:{secret}", basic=True)),
        ("{host: a.b, query: key}", Injection("a.b", kind="query", name="key")),
        (
            "{host: a.b, git: true}",
            Injection(
                "a.b",
                name="Authorization",
                value="x-access-token:{secret}",
                basic=True,
                paths=("/**/info/refs", "/**/git-upload-pack", "/**/git-receive-pack"),
            ),
        ),
    ],
)
def test_every_way_to_carry_a_secret(host, inject, expected):
    (credential,) = host.only(tracker(inject)).policy.credentials
    assert credential.injections == (expected,)


@pytest.mark.parametrize(
    ("written", "source", "variable"),
    [
        ("env: TOKEN", SecretSource("env", "TOKEN"), "TOKEN"),
        ("store: kept", SecretSource("store", "kept"), ""),
        ("store: kept, env: TOKEN", SecretSource("store", "kept"), "TOKEN"),
        ("file: ~/token", SecretSource("file", "/home/user/token"), ""),
        ("file: ../t/../token, env: TOKEN", SecretSource("file", "/home/user/token"), "TOKEN"),
        ("command: [pass, show, ./x]", SecretSource("command", command=("pass", "show", "./x")), ""),
        ("command: [../bin/token]", SecretSource("command", command=("/home/user/bin/token",)), ""),
        ("command: [~/bin/token, ~/x]", SecretSource("command", command=("/home/user/bin/token", "~/x")), ""),
    ],
)
def test_every_source_and_the_variable_inside(host, written, source, variable):
    policy = host.only(tracker("{host: a.b, bearer: true}", secret=written)).policy
    (credential,) = policy.credentials
    assert (credential.source, credential.variable, credential.known) == (source, variable, False)
    assert bool(credential.placeholder) == bool(variable)
    assert policy.settings == (((variable, credential.placeholder),) if variable else ())


def test_a_placeholder_is_the_same_for_the_same_sandbox_alone(host):
    def placeholder(text):
        return host.state(text).sandboxes[0].policy.credentials[0].placeholder

    text = tracker("{host: a.b}")
    assert placeholder(text) == placeholder(text)
    assert placeholder(text).startswith("sbx-secret-tracker-")
    assert len({placeholder(text), placeholder(f"name: other\n{text}"), placeholder(text.replace("web", "db"))}) == 3


def test_a_secret_named_after_a_service_goes_where_the_service_is(host):
    for text in (
        "anthropic: {env: ANTHROPIC_API_KEY}",
        "anthropic: {store: anthropic}",
        "mine: {env: ANTHROPIC_API_KEY}",
    ):
        name = text.partition(":")[0]
        (credential,) = host.only(f"secrets: {{{text}}}\nsandboxes: {{web: {{secrets: [{name}]}}}}").policy.credentials
        assert credential.injections == ANTHROPIC.injections
        assert (credential.variable, credential.known) == ("ANTHROPIC_API_KEY", True)
        assert (credential.origin, credential.place) == (f"secret {name}", "sandbox.yaml:1:11")


@pytest.mark.parametrize(
    "secret",
    [
        "anthropic: {env: OTHER_KEY}",
        "anthropic: {store: other}",
        "anthropic: {file: ~/key}",
        "anthropic: {command: [key]}",
        "openai: {env: ANTHROPIC_API_KEY}",
        "mine: {env: ANTHROPIC_API_KEY, inject: [{host: evil.example.com, bearer: true}]}",
        "anthropic: {env: ANTHROPIC_API_KEY, inject: [{host: api.anthropic.com, header: x-api-key}]}",
        "anthropic: {store: anthropic, inject: [{host: evil.example.com, bearer: true}]}",
        "mine: {store: anthropic, env: ANTHROPIC_API_KEY, inject: [{host: evil.example.com}]}",
    ],
)
def test_whatever_is_not_exactly_the_usual_is_to_be_approved(host, secret):
    name = secret.partition(":")[0]
    (credential,) = host.only(f"secrets: {{{secret}}}\nsandboxes: {{web: {{secrets: [{name}]}}}}").policy.credentials
    assert not credential.known


@pytest.mark.parametrize(
    "secret",
    [
        "anthropic: {file: ~/key}",
        "mine: {file: ~/key, env: ANTHROPIC_API_KEY}",
        "mine: {file: ~/key, inject: [{host: api.anthropic.com, header: X-API-Key}]}",
        "mine: {file: ~/key, inject: [{host: api.anthropic.com, bearer: true}]}",
    ],
)
def test_a_secret_of_the_file_takes_the_place_of_the_agents_own(host, secret):
    host.environment = KEY
    name = secret.partition(":")[0]
    text = f"secrets: {{{secret}}}\nsandboxes: {{web: {{agent: claude, template: shell, secrets: [{name}]}}}}"
    assert [each.name for each in host.only(text).policy.credentials] == [name]


def test_secrets_of_the_defaults_come_first_and_each_once(host):
    text = (
        "secrets:\n  b: {env: B, inject: [{host: b.example.com}]}\n  a: {env: A, inject: [{host: a.example.com}]}\n"
        "defaults: {secrets: [b]}\nsandboxes: {web: {secrets: [a, b, a]}, db: {}}"
    )
    db, web = host.state(text).sandboxes
    assert [each.name for each in db.policy.credentials] == ["b"]
    assert [each.name for each in web.policy.credentials] == ["a", "b"]
    assert dict(web.policy.settings).keys() == {"A", "B"}


def test_a_secret_that_nobody_names_goes_nowhere(host):
    assert host.only("secrets: {a: {env: A, inject: [{host: a.b}]}}\nsandboxes: {web: {}}").policy == NO_POLICY


# --- rules -------------------------------------------------------------------------------------------------------


def test_the_places_of_a_secret_are_rules_of_the_own_layer_where_they_are_written(host):
    own = host.only(tracker("{host: a.example.com}, {host: b.example.com:8443, git: true}")).policy.own
    assert [(rule.pattern, bool(rule.paths), rule.origin, rule.place) for rule in own.allow] == [
        ("a.example.com:443", False, "secret tracker", "sandbox.yaml:1:49"),
        ("b.example.com:8443", True, "secret tracker", "sandbox.yaml:1:72"),
    ]


@pytest.mark.parametrize(
    "rules",
    ["allow: [{host: a.example.com, methods: [GET]}]", "block: [a.example.com]", "block: ['A.example.com:443']"],
)
def test_what_the_policy_itself_says_of_a_host_holds(host, rules):
    desired, _ = host.resolve(tracker("{host: a.example.com}", more=f", policy: {{{rules}}}"))
    policy = desired.sandboxes[0].policy
    assert not any(rule.origin for rule in policy.own.allow)
    assert [each.name for each in policy.credentials] == ["tracker"]


def test_rules_about_other_hosts_and_ports_change_nothing(host):
    more = ", policy: {allow: ['*.example.com', 'a.example.com:8443'], block: [b.example.com]}"
    own = host.only(tracker("{host: a.example.com}", more=more)).policy.own
    assert [rule.pattern for rule in own.allow] == ["*.example.com", "a.example.com:8443", "a.example.com:443"]


def test_a_policy_that_several_share_stays_as_it_is(host):
    text = (
        "policies: {p: {allow: [x.example.com]}}\nsecrets: {a: {env: A, inject: [{host: a.b}]}}\n"
        "sandboxes: {one: {policy: p, secrets: [a]}, two: {policy: p}}"
    )
    one, two = host.state(text).sandboxes
    assert [rule.pattern for rule in one.policy.own.allow] == ["x.example.com", "a.b:443"]
    assert [rule.pattern for rule in two.policy.own.allow] == ["x.example.com"]


def test_what_commands_made_is_of_no_file_and_called_by_its_name_alone(host):
    host.project = "_run"
    host.environment = KEY
    desired, problems = host.resolve(CLAUDE)
    assert problems == ()
    assert (desired.project, desired.source, str(desired.sandboxes[0].id)) == ("_run", "", "web")


def test_a_host_without_the_client_that_an_agents_template_needs_is_told_where_and_what_to_do(host):
    host.environment = KEY
    host.preset("pip", "apt")
    desired, problems = host.resolve("sandboxes:\n  web: {agent: claude}")
    assert desired is None
    (problem,) = problems
    assert (problem.summary, problem.span.line, problem.span.column) == ("No registry", 2, 16)
    assert "install npm" in problem.hint
