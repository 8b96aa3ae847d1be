"""What doctor says of secrets: which are there, never what they are."""

import pytest

from sandboxfile.cli.checks.credentials import check_credentials
from sandboxfile.host.layout import Layout
from sandboxfile.secrets.store import Store


@pytest.fixture
def layout(clean_home):
    return Layout(clean_home / "state", clean_home / "cache", clean_home / "run", clean_home / "config")


@pytest.fixture
def found(layout, clean_home):
    environ = {"HOME": str(clean_home), "PATH": "/nowhere"}

    def look(name, **variables):
        [check] = [each for each in check_credentials(layout, environ | variables) if each.name == name]
        return check

    return look


def test_a_fresh_host_is_well_and_is_not_written_to(found, layout):
    assert found("approvals").detail.startswith("none")
    assert found("keyring").verdict == "ok"
    assert found("anthropic key").detail == (
        "none: agents have to log in, or export ANTHROPIC_API_KEY, or `sbx secret set anthropic`"
    )
    assert not layout.state.exists()


def test_a_key_is_found_in_its_variable_or_in_the_store(found, layout):
    Store(layout, {"PATH": "/nowhere"}).set("google", "secret-value")
    assert found("google key").detail == "stored (file)"
    check = found("google key", GOOGLE_API_KEY="secret-value")
    assert (check.verdict, check.detail) == ("ok", "GOOGLE_API_KEY is set")


def test_a_key_that_cannot_be_used_is_warned_of_without_it(found):
    check = found("openai key", OPENAI_API_KEY="secret-value\n\n")
    assert (check.verdict, check.detail) == ("warning", "the variable OPENAI_API_KEY has more than one line")
    assert check.fix == "export OPENAI_API_KEY=..."


def test_secrets_in_a_keyring_that_does_not_answer_are_warned_of(found, layout):
    layout.secrets.mkdir(parents=True)
    (layout.secrets / "index.json").write_text('{"version": 1, "secrets": {"tracker": "keyring"}}')
    check = found("keyring")
    assert check.verdict == "warning"
    assert "secret-tool is not installed" in check.detail


def test_records_that_cannot_be_read_are_missing(found, layout):
    layout.secrets.mkdir(parents=True)
    (layout.secrets / "index.json").write_text("{")
    layout.approvals.write_text("{")
    assert found("stored secrets").verdict == "missing"
    assert found("approvals").verdict == "missing"
