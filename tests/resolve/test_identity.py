"""Who commits of a sandbox are by."""

import pytest


def identity(host, text):
    return {name: value for name, value in host.only(text).env if name.startswith("GIT_")}


def named(name, email):
    who = ("AUTHOR", "COMMITTER")
    return {f"GIT_{each}_NAME": name for each in who} | {f"GIT_{each}_EMAIL": email for each in who}


def test_nothing_of_the_host_unless_it_is_asked_for(host):
    host.git_identity = ("Ada", "ada@example.com")
    assert identity(host, "sandboxes: {web: {}}") == {}
    assert identity(host, "sandboxes: {web: {git: host}}") == named("Ada", "ada@example.com")


def test_a_written_identity_needs_nothing_of_the_host(host):
    text = "defaults: {git: host}\nsandboxes: {web: {git: {name: Bob, email: bob@example.com}}}"
    assert identity(host, text) == named("Bob", "bob@example.com")


def test_variables_of_the_sandbox_are_over_it(host):
    text = "sandboxes: {web: {git: {name: Bob, email: b@c}, env: {GIT_AUTHOR_NAME: Eve, GIT_COMMITTER_NAME: null}}}"
    assert identity(host, text) == {
        "GIT_AUTHOR_NAME": "Eve", "GIT_AUTHOR_EMAIL": "b@c", "GIT_COMMITTER_EMAIL": "b@c",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["defaults: {git: host}\nsandboxes: {web: {}}", "sandboxes: {web: {git: host}}"])
def test_a_host_without_identity_cannot_lend_one(host, text):
    assert host.summaries(text) == ["No git identity"]
