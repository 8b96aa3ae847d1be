"""The question: what it shows, who can answer it, and that nothing else can."""

import argparse
import io

import pytest

from sandboxfile.cli import approving
from sandboxfile.cli.approving import ask_approvals, wanted
from sandboxfile.cli.views.console import Console
from sandboxfile.errors import SandboxfileError, StateError
from sandboxfile.host.approvals import Approval, approvals_needed, read_approvals
from sandboxfile.model.credential import Credential, Injection, SecretSource
from sandboxfile.model.desired import DesiredSandbox, Image
from sandboxfile.model.policy import Layer, Policy
from sandboxfile.names import SandboxId

FILE = SecretSource("file", "/home/me/token")
COMMAND = SecretSource("command", command=("sh", "-c", "pass show x\nMAY GO TO\x1b[2K\u202e"))


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def here(monkeypatch, layout):
    monkeypatch.setattr(approving, "this_layout", lambda: layout)


@pytest.fixture
def ask(layout):
    """Ask on a terminal where somebody answers; without an answer on none. Gives what was said."""

    def call(specs, answer=None, **args):
        kind = io.StringIO if answer is None else Terminal
        console = Console(io.StringIO(), kind(), kind(answer or ""))
        ask_approvals(specs, argparse.Namespace(yes=True, **args), console)
        return console.err.getvalue()

    return call


def sandbox(name, *credentials):
    policy = Policy((Layer("no policy"),), credentials=credentials)
    return DesiredSandbox(SandboxId("shop", name), "shell", Image("d"), policy=policy)


def credential(source=FILE, name="tracker", hosts=("tracker.example.com",), known=False):
    return Credential(name, source, tuple(map(Injection, hosts)), origin=f"secret {name}", known=known)


def test_what_needs_no_approval_is_not_asked(ask, layout):
    assert ask([sandbox("web"), sandbox("db", credential(known=True))]) == ""
    assert not layout.state.exists()


def test_the_question_shows_secret_source_host_and_sandboxes_once(ask, layout):
    specs = [sandbox("web", credential()), sandbox("db", credential())]
    said = ask(specs, "y\n")
    assert "tracker  file /home/me/token  tracker.example.com:443  shop/web, shop/db\n" in said
    assert "command" not in said
    assert read_approvals(layout) == {Approval("file /home/me/token", "tracker.example.com", 443)}
    assert ask(specs) == ""


def test_only_what_is_new_is_asked(ask, layout):
    ask([sandbox("web", credential())], "y\n")
    said = ask([sandbox("web", credential(hosts=("tracker.example.com", "other.example.com")))], "y\n")
    assert "other.example.com:443" in said
    assert "tracker.example.com:443" not in said


@pytest.mark.parametrize("answer", ["n\n", "\n", " ", "yess\n"])
def test_no_answer_but_yes_approves(ask, layout, answer):
    with pytest.raises(SandboxfileError, match="nothing was changed"):
        ask([sandbox("web", credential())], answer)
    assert read_approvals(layout) == frozenset()


def test_without_a_terminal_the_commands_are_told_and_yes_does_not_help(ask, layout):
    specs = [sandbox("web", credential(), credential(SecretSource("env", "B"), "b", ("b.example.com",)))]
    with pytest.raises(SandboxfileError, match="no terminal") as failure:
        ask(specs, file="my file.yaml")
    assert failure.value.hint == (
        "sbx -f 'my file.yaml' secret approve b b.example.com:443"
        " && sbx -f 'my file.yaml' secret approve tracker tracker.example.com:443"
    )
    assert read_approvals(layout) == frozenset()


def test_a_command_is_shown_whole_on_one_line_and_drives_no_terminal(ask):
    said = ask([sandbox("web", credential(COMMAND, "told"))], "y\n")
    [row] = [line for line in said.splitlines() if line.startswith("told")]
    assert "pass show x" in row
    assert "told" in row
    assert row.rstrip().endswith("tracker.example.com:443  shop/web")
    assert not set("\x1b\u202e") & set(said)
    assert "A command runs on this host, as you" in said


def test_a_command_that_changed_by_one_character_is_asked_again(ask):
    ask([sandbox("web", credential(COMMAND))], "y\n")
    other = SecretSource("command", command=(*COMMAND.command, ""))
    with pytest.raises(SandboxfileError):
        ask([sandbox("web", credential(other))])


def test_a_record_that_cannot_be_read_stops_it(ask, layout):
    layout.state.mkdir(parents=True)
    layout.approvals.write_text("{")
    with pytest.raises(StateError):
        ask([sandbox("web", credential())], "y\n")


def test_all_that_is_needed_is_listed_in_order():
    specs = [sandbox("web", credential(name="z"), credential(name="a", hosts=("b.example.com", "a.example.com")))]
    found = wanted(specs)
    assert [(each.secret, each.approval.host) for each in found] == [
        ("a", "a.example.com"),
        ("a", "b.example.com"),
        ("z", "tracker.example.com"),
    ]
    assert {each.approval for each in found} == set(approvals_needed(specs[0].policy.credentials))
