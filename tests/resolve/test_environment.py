"""Whose value of a variable counts."""

from sandboxfile.model.desired import FromHost

from .conftest import BASE


def test_precedence_is_template_then_env_file_then_env(host):
    host.text("/home/user/project/a.env", "B=file\nC=file\nD=file").text("/home/user/project/b.env", "C=second")
    sandbox = host.only(
        "templates: {t: {env: {A: t, B: t, C: t, D: t}}}\n"
        "sandboxes: {web: {template: t, env_file: [a.env, b.env], env: {D: env}}}"
    )
    assert dict(sandbox.env) == {"A": "t", "B": "file", "C": "second", "D": "env"}


def test_defaults_lie_between_template_and_sandbox(host):
    host.text("/home/user/project/a.env", "B=own file").text("/home/user/project/d.env", "A=default file\nC=x")
    sandbox = host.only(
        "templates: {t: {env: {A: t}}}\ndefaults: {env_file: d.env, env: {B: default, C: default}}\n"
        "sandboxes: {web: {template: t, env_file: a.env}}"
    )
    assert dict(sandbox.env) == {"A": "default file", "B": "own file", "C": "default"}


def test_a_variable_without_value_comes_from_the_environment_or_is_absent(host):
    host.environment = {"SET": "value", "FROM_FILE": "v"}
    host.text("/home/user/project/a.env", "FROM_FILE\nUNSET_IN_ENV=x")
    sandbox = host.only("sandboxes: {web: {env_file: a.env, env: [SET, UNSET, UNSET_IN_ENV]}}")
    assert dict(sandbox.env) == {"SET": "value", "FROM_FILE": "v"}


def test_what_of_the_environment_of_sbx_comes_in_is_told_for_sandboxes_and_for_builds(host):
    """Each that is merged with it: variables inside, arguments of a Dockerfile (also of a template's base)."""
    host.environment = {"INSIDE": "v", "BUILT": "w", "OTHER": "x", "GIVEN": "y"}
    host.source("context", f"{BASE}/ctx", "d", "Dockerfile")
    built = "build: {context: ctx, args: {BUILT: , INSIDE: , UNSET: , GIVEN: here}}"
    for template in ("image", "upon"):
        sandbox = host.only(
            f"templates: {{image: {{{built}}}, upon: {{base: image, run: [make]}}}}\n"
            f"sandboxes: {{web: {{template: {template}, env: [INSIDE]}}}}"
        )
        assert sandbox.from_host == (FromHost("environment", "BUILT"), FromHost("environment", "INSIDE"))
    host.environment = {}
    assert host.only(f"templates: {{image: {{{built}}}}}\nsandboxes: {{web: {{template: image}}}}").from_host == ()


def test_nothing_else_of_the_environment_gets_in(host):
    host.environment = {"SECRET": "x"}
    assert host.only("sandboxes: {web: {}}").env == ()


def test_an_environment_that_is_not_text_is_refused(host):
    host.environment = {"A": "\udcff"}
    assert host.summaries("sandboxes: {web: {env: [A]}}") == ["Not UTF-8"]


def test_no_message_shows_a_value(host):
    host.text("/home/user/project/a.env", "GOOD='x' hunter2\nBAD hunter2\nX=${hunter2}\nOPEN='hunter2")
    _, problems = host.resolve("sandboxes: {web: {env_file: a.env}}")
    assert len(problems) == 4
    assert not any("hunter2" in problem.detail + str(problem.hint) for problem in problems)


def test_a_file_outside_the_project_is_told_of_by_where_it_really_is(host):
    text = "sandboxes: {web: {env_file: a.env}}"
    host.text(f"{BASE}/a.env", "A=1")
    assert host.only(text).from_host == ()
    host.link(f"{BASE}/a.env", "/home/user/credentials", kind="file")
    assert host.only(text).from_host == (FromHost("/home/user/credentials"),)


def test_a_project_behind_a_link_has_its_files_inside(host):
    host.link(BASE, "/data/project").link(f"{BASE}/a.env", "/data/project/a.env", kind="file", at=BASE)
    assert host.only("sandboxes: {web: {env_file: a.env}}").from_host == ()
