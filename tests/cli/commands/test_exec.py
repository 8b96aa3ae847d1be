"""What `sbx exec` asks for."""

import argparse
import io

import pytest

from sandboxfile.cli.commands import exec as command
from sandboxfile.control.messages import Exec
from sandboxfile.errors import SandboxfileError


def test_a_variable_has_the_value_given_or_the_one_it_has_here():
    given = ["A=1", "B=x=y", "C", "D", "A=2", "E="]
    assert command.variables(given, {"C": "here", "A": "no"}) == [("A", "2"), ("B", "x=y"), ("C", "here"), ("E", "")]
    with pytest.raises(SandboxfileError, match="name is missing"):
        command.variables(["=x"], {})


@pytest.mark.parametrize("stdin", [True, False])
def test_a_terminal_is_not_promised_where_there_is_none(stdin, monkeypatch):
    for stream in ("stdin", "stdout"):
        monkeypatch.setattr(f"sys.{stream}", io.StringIO())
    with pytest.raises(SandboxfileError, match="is not a terminal"):
        command.with_terminal(Exec(("sh",)), stdin)


@pytest.mark.parametrize(
    ("words", "options", "said"),
    [
        ([], {}, "no command given"),
        (["--"], {}, "no command given"),
        (["sh"], {"detach": True, "tty": True}, "--detach"),
        (["sh"], {"detach": True, "interactive": True}, "--detach"),
    ],
)
def test_what_makes_no_sense_is_refused(words, options, said):
    wanted = {"detach": False, "tty": False, "interactive": False, **options}
    with pytest.raises(SandboxfileError, match=said):
        command.run(argparse.Namespace(name="box", command=words, **wanted), None)
