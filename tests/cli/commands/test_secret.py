"""`sbx secret`, as a user runs it. No value is ever on a screen, in an argument, or in a file that others read."""

import json
import sys

import pexpect
import pytest

from sandboxfile import pipeline
from sandboxfile.host.approvals import Approval, approve, read_approvals
from sandboxfile.host.trust import approve as trusted
from sandboxfile.host.trust import expose
from sandboxfile.secrets.store import Store

from ... import forking

VALUE = "sk-TEST-4eC39HqLyjWDarjtT1zdp7dc"
FILE = """\
name: shop
secrets:
  tracker:
    file: /home/me/token
    inject: [{host: tracker.example.com, bearer: true}, {host: old.example.com:8443, query: key}]
  told: {command: [printf, "a b"], inject: [{host: told.example.com, bearer: true}]}
  kept: {store: kept, inject: [{host: kept.example.com, bearer: true}]}
  anthropic: {env: ANTHROPIC_API_KEY}
sandboxes:
  web: {secrets: [tracker, told, anthropic]}
  db: {secrets: [tracker, kept]}
"""
TRACKER = (
    Approval("file /home/me/token", "old.example.com", 8443),
    Approval("file /home/me/token", "tracker.example.com", 443),
)


@pytest.fixture
def file(project):
    path = project / "sandbox.yaml"
    path.write_text(FILE)
    return path


@pytest.fixture
def store(layout, environment):
    return Store(layout, environment)


@pytest.fixture
def keep(project, environment):
    """`sbx secret set` with a value on standard input."""

    def call(*words, value=VALUE, code=0):
        done = forking.run(("secret", "set", *words), cwd=project, env=environment, input=value, timeout=120)
        assert done.returncode == code, done.stdout + done.stderr
        assert VALUE not in done.stdout + done.stderr
        return done

    return call


def listed(cli):
    return json.loads(cli("secret", "ls", "--format", "json").stdout)


# --- set ---------------------------------------------------------------------------------------------------------


def test_a_value_comes_from_standard_input_and_goes_nowhere_else(keep, store, layout):
    said = keep("kept")
    assert said.stdout == ""
    assert said.stderr.startswith("kept is kept in a file that only you can read: ")
    assert store.get("kept") == VALUE
    assert read_approvals(layout) == frozenset()
    assert [path.name for path in layout.state.rglob("*") if path.is_file() and VALUE in path.read_text()] == ["kept"]


def test_a_prompt_does_not_show_what_is_typed(environment, project, store):
    argv = ["-m", "sandboxfile", "secret", "set", "kept"]
    child = pexpect.spawn(sys.executable, argv, cwd=str(project), env=environment, encoding="utf-8", timeout=60)
    try:
        child.expect_exact("kept (not shown): ")
        child.waitnoecho()
        child.sendline(VALUE)
        child.expect(pexpect.EOF)
    finally:
        child.close(force=True)
    assert child.exitstatus == 0
    assert VALUE not in child.before
    assert store.get("kept") == VALUE


def test_a_file_can_give_the_value(cli, clean_home, store):
    (clean_home / "token").write_text(VALUE + "\n")
    cli("secret", "set", "kept", "--from", str(clean_home / "token"))
    assert store.get("kept") == VALUE
    assert "there is no file" in cli("secret", "set", "kept", "--from", "/nowhere", code=1).stderr


def test_hosts_given_with_it_may_get_it(keep, layout):
    said = keep("kept", "--host", "Kept.Example.COM.", "--host", "[2001:db8::1]:8443")
    assert "kept.example.com:443 may get it\n[2001:db8::1]:8443 may get it\n" in said.stderr
    assert read_approvals(layout) == {
        Approval("store kept", "kept.example.com", 443),
        Approval("store kept", "2001:db8::1", 8443),
    }


@pytest.mark.parametrize("host", ["*.example.com", "*", "10.0.0.0/8", "https://example.com", "a b", ""])
def test_a_host_that_is_not_exact_keeps_nothing(keep, layout, host):
    keep("kept", "--host", host, code=1)
    assert not layout.secrets.exists()
    assert not layout.approvals.exists()


@pytest.mark.parametrize(
    ("value", "said"), [("", "is empty"), ("a\nb", "more than one line"), ("x" * 70_000, "longer")]
)
def test_what_is_no_value_is_refused(keep, layout, value, said):
    assert said in keep("kept", value=value, code=1).stderr
    assert not layout.secrets.exists()


def test_a_value_is_no_word_of_the_command(cli, layout):
    for words in (("kept", VALUE), ("kept", "a", VALUE), (VALUE,)):
        said = cli("secret", "set", *words, code=1)
        assert VALUE not in said.stdout + said.stderr
    assert not layout.secrets.exists()


def test_under_the_name_of_a_service_its_agents_get_it(keep):
    assert "agents get it for Anthropic where ANTHROPIC_API_KEY" in keep("anthropic").stderr


# --- ls ----------------------------------------------------------------------------------------------------------


def test_without_secrets_that_is_said_and_nothing_is_written(cli, layout):
    said = cli("secret", "ls")
    assert said.stdout == ""
    assert "there are no secrets" in said.stderr
    assert listed(cli) == {"stored": [], "used": [], "approved": []}
    assert not layout.state.exists()


def test_stored_secrets_and_those_of_the_file_are_listed_with_their_hosts(cli, keep, file, layout):
    keep("kept", "--host", "kept.example.com")
    keep("spare")
    approve(layout, [TRACKER[1], Approval("env OTHER", "elsewhere.example.com", 443)])
    assert cli("secret", "ls").stdout == (
        "NAME   KEPT IN  USED BY           MAY GO TO\n"
        "kept   file     secret kept (db)  kept.example.com:443\n"
        "spare  file     -                 -\n"
        "\n"
        "SECRET     SOURCE                 SANDBOXES  MAY GO TO\n"
        "anthropic  env ANTHROPIC_API_KEY  web        api.anthropic.com:443\n"
        "kept       store kept             db         kept.example.com:443\n"
        "told       command printf 'a b'   web        told.example.com:443 (not approved)\n"
        "tracker    file /home/me/token    db, web    tracker.example.com:443, old.example.com:8443 (not approved)\n"
        "\n"
        "APPROVED SOURCE  MAY GO TO\n"
        "env OTHER        elsewhere.example.com:443\n"
    )


def test_json_has_the_same_and_no_value(cli, keep, file):
    keep("kept", "--host", "kept.example.com")
    found = listed(cli)
    assert found["stored"] == [
        {
            "name": "kept",
            "kept_in": "file",
            "used_by": ["secret kept (db)"],
            "hosts": [{"host": "kept.example.com:443", "approved": True, "known": False}],
        }
    ]
    used = {each["name"]: each for each in found["used"]}
    assert used["told"]["source"] == {"kind": "command", "command": ["printf", "a b"]}
    assert used["anthropic"]["hosts"] == [{"host": "api.anthropic.com:443", "approved": True, "known": True}]
    assert found["approved"] == [{"source": "store kept", "host": "kept.example.com", "port": 443}]
    assert VALUE not in json.dumps(found)


def test_a_wrong_file_hides_no_stored_secret(cli, keep, file):
    keep("kept")
    file.write_text("sandboxes: 3\n")
    said = cli("secret", "ls")
    assert "kept   file" in said.stdout.replace("kept  file", "kept   file")
    assert "has errors" in said.stderr


def test_records_that_cannot_be_read_are_an_error(cli, keep, layout):
    keep("kept")
    layout.approvals.write_text("{")
    assert "nothing is approved" in cli("secret", "ls", code=1).stderr


# --- rm ----------------------------------------------------------------------------------------------------------


def test_a_deleted_secret_takes_its_approvals_along(cli, keep, store, layout):
    keep("kept", "--host", "kept.example.com")
    keep("spare")
    approve(layout, [Approval("env OTHER", "kept.example.com", 443)])
    assert cli("secret", "rm", "kept").stderr == "kept is deleted\n"
    assert store.names() == ("spare",)
    assert read_approvals(layout) == {Approval("env OTHER", "kept.example.com", 443)}


def test_an_unknown_name_deletes_nothing(cli, keep, store):
    keep("kept")
    assert "did you mean kept?" in cli("secret", "rm", "kept", "kep", code=1).stderr
    assert store.names() == ("kept",)


# --- approve -----------------------------------------------------------------------------------------------------


def test_all_hosts_of_a_secret_are_approved_or_one(cli, file, layout):
    cli("secret", "approve", "tracker", "old.example.com")
    assert read_approvals(layout) == {TRACKER[0]}
    said = cli("secret", "approve", "tracker")
    assert "tracker, file /home/me/token: tracker.example.com:443 may get it\n" in said.stderr
    assert read_approvals(layout) == set(TRACKER)


def test_an_approval_can_be_taken_back_with_the_file_or_without(cli, file, layout):
    approve(layout, [*TRACKER, Approval("env OTHER", "a.example.com", 443)])
    cli("secret", "approve", "--revoke", "tracker", "old.example.com:8443")
    assert TRACKER[0] not in read_approvals(layout)
    file.unlink()
    cli("secret", "approve", "--revoke", "env OTHER")
    cli("secret", "approve", "--revoke", "file /home/me/token")
    assert read_approvals(layout) == frozenset()


def test_where_nobody_is_asked_a_file_in_doubt_approves_nothing(cli, file, layout):
    expose(layout, {str(file.parent): frozenset()})
    refused = cli("secret", "approve", "tracker", code=1).stderr
    assert f"{file}: new, in the workspace {file.parent}" in refused
    assert "secret tracker: approve" in refused
    assert read_approvals(layout) == frozenset()
    trusted(layout, pipeline.load(file, layout).everything)
    cli("secret", "approve", "tracker")
    assert read_approvals(layout) == frozenset(TRACKER)


def test_only_what_the_file_binds_it_to_can_be_approved(cli, file, layout):
    said = cli("secret", "approve", "tracker", "evil.example.com", code=1)
    assert "its hosts are old.example.com:8443, tracker.example.com:443" in said.stderr
    cli("secret", "approve", "tracker", "old.example.com:443", code=1)
    assert "did you mean tracker?" in cli("secret", "approve", "traker", code=1).stderr
    assert read_approvals(layout) == frozenset()


def test_what_belongs_together_needs_no_approval(cli, file, layout):
    assert "nothing to approve" in cli("secret", "approve", "anthropic").stderr
    assert not layout.approvals.exists()


def test_a_wrong_file_approves_nothing(cli, file, layout):
    file.write_text(FILE + "surprise: 1\n")
    cli("secret", "approve", "tracker", code=1)
    assert not layout.approvals.exists()


def test_nobody_else_can_read_the_approvals(cli, file, layout):
    cli("secret", "approve", "tracker")
    assert layout.approvals.stat().st_mode & 0o077 == 0


# --- told where somebody only looks ------------------------------------------------------------------------------

UNAPPROVED = (
    ("Secret not approved", "sbx secret approve told told.example.com:443"),
    ("Secret not approved", "sbx secret approve tracker old.example.com:8443"),
    ("Secret not approved", "sbx secret approve tracker tracker.example.com:443"),
)


def test_a_plan_tells_what_its_secrets_lack_in_every_format(cli, file, layout):
    told = json.loads(cli("plan", "web", "--format", "json").stdout)["diagnostics"]
    assert [(each["summary"], each["hint"]) for each in told if "approved" in each["summary"]] == list(UNAPPROVED)
    absent = [each for each in told if each["summary"] == "Secret not available"]
    assert {each["detail"].split("`")[1] for each in absent} == {"anthropic", "tracker"}
    assert {each["severity"] for each in told} == {"warning"}
    assert (
        told[-1]["detail"]
        == "`tracker` (file /home/me/token) may not go to tracker.example.com:443 yet, from shop/web."
    )
    comment = cli("plan", "web", "--format", "markdown").stdout
    assert "warning: Secret not approved: `told` (command printf 'a b') may not go to told.example.com:443" in comment
    assert "warning: Secret not available: `tracker`" in comment
    assert "Refused" not in comment
    assert "hint: sbx secret approve told told.example.com:443" in cli("plan", "web").stderr
    approve(layout, [*TRACKER, Approval("command sha256:0", "told.example.com", 443)])
    left = json.loads(cli("plan", "web", "--format", "json").stdout)["diagnostics"]
    assert [each["hint"] for each in left if "approved" in each["summary"]] == [UNAPPROVED[0][1]]


def test_a_saved_plan_is_the_same_whatever_its_secrets_lack(cli, file, layout):
    cli("plan", "db", "-o", "before.plan", "--format", "json")
    approve(layout, TRACKER)
    cli("plan", "db", "-o", "after.plan")
    before, after = (json.loads(file.with_name(f"{name}.plan").read_text()) for name in ("before", "after"))
    assert before["plan"] == after["plan"]
    assert "not approved" not in json.dumps(before)


def test_status_tells_what_the_secrets_of_a_sandbox_lack_and_which_of_its_files_are_in_doubt(
    cli, file, stopped, layout
):
    web = next(spec for spec in pipeline.load(file, layout).desired.sandboxes if spec.id.name == "web")
    stopped(policy=web.policy)
    told = json.loads(cli("status", "shop/web", "--format", "json").stdout)
    assert [each["hint"] for each in told["diagnostics"] if "approved" in each["summary"]] == [h for _, h in UNAPPROVED]
    assert "tracker" in [each["detail"].split("`")[1] for each in told["diagnostics"] if "available" in each["summary"]]
    assert told["doubts"] == []
    expose(layout, {str(file.parent): frozenset()})
    doubt = {"path": str(file), "state": "new", "directory": str(file.parent)}
    assert doubt in json.loads(cli("status", "shop/web", "--format", "json").stdout)["doubts"]
    said = cli("status", "shop/web")
    assert "hint: sbx secret approve tracker old.example.com:8443" in said.stderr
    assert "in doubt" in said.stdout
    assert f"{file}: new, in the workspace {file.parent}" in said.stdout
    file.unlink()
    assert json.loads(cli("status", "shop/web", "--format", "json").stdout)["doubts"] == []
