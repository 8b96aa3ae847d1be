"""The command line as a whole: verbs, help, wrong arguments, exit codes, and what becomes of exceptions."""

import io
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from sandboxfile.cli import exits
from sandboxfile.cli.main import HIDDEN_VERBS, VERBS, build_parser, run
from sandboxfile.cli.views.console import Console
from sandboxfile.errors import HostError, SandboxfileError

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def console():
    return Console(io.StringIO(), io.StringIO(), io.StringIO())


def command(*words, home, **options):
    environment = {"HOME": str(home), "SBX_HOME": f"{home}/sbx", "PATH": "/usr/bin:/bin", "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        [sys.executable, "-m", "sandboxfile", *words],
        cwd=home,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


def commands():
    """Every command, as it is typed, and what it is for; those of `network` and `policy` instead of these."""
    for verb, purpose in VERBS.items():
        module = import_module(f"sandboxfile.cli.commands.{verb.replace('-', '_')}")
        inner = getattr(module, "COMMANDS", None)
        yield from ((f"{verb} {word}", what) for word, what in inner.items()) if inner else [(verb, purpose)]


def modules(package):
    found = (REPOSITORY / "sandboxfile/cli/commands" / package).iterdir()
    return {entry.stem.replace("_", "-") for entry in found if not entry.name.startswith("_")}


def help_of(words, console, capsys):
    with pytest.raises(SystemExit) as ended:
        run([*words, "--help"], console)
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: sbx {' '.join(words)} ")
    assert len(shown.splitlines()) > 5
    return shown


def test_every_verb_has_a_module_help_and_a_line_in_the_general_help(console, capsys):
    general = build_parser().format_help()
    for verb, purpose in VERBS.items():
        assert f"{verb} " in general
        assert purpose in general
    for command, purpose in commands():
        help_of(command.split(), console, capsys)
        if " " in command:
            assert purpose in " ".join(help_of(command.split()[:1], console, capsys).split())
    assert modules(".") == {*VERBS, *HIDDEN_VERBS}
    inner = {command.split()[0] for command, _ in commands() if " " in command}
    for package in inner:
        assert modules(package) == {
            command.split()[1] for command, _ in commands() if command.startswith(package + " ")
        }
    assert not any(verb in general for verb in HIDDEN_VERBS)


def test_the_readme_lists_the_commands_and_exit_codes_as_they_are():
    readme = (REPOSITORY / "README.md").read_text()
    for command, purpose in commands():
        assert f"| `sbx {command}` | {purpose} |" in readme
    assert readme.count("| `sbx ") == len(list(commands()))
    for code, meaning in exits.MEANINGS:
        assert f"| {code} | {meaning} |" in readme
        assert f"  {code:<4} {meaning}" in build_parser().format_help()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["plam"], exits.USAGE, "did you mean plan"),
        (["--colour"], exits.USAGE, "unrecognized arguments: --colour"),
        (["--no-colour", "up"], exits.USAGE, "did you mean --no-color?"),
        (["up", "--parallle=2"], exits.USAGE, "did you mean --parallel"),
        (["run", "shell", "--nmae", "x"], exits.EXEC_FAILED, "did you mean --name?"),
        (["exec", "--iteractive", "box", "ls"], exits.EXEC_FAILED, "did you mean --interactive?"),
        (["network", "log", "--follw"], exits.USAGE, "did you mean --follow"),
        (["up", "--parallel", "0"], exits.USAGE, "--parallel"),
        (["plan", "--detailed"], exits.USAGE, "--detailed"),
        (["logs", "--main", "--console", "box"], exits.USAGE, "not allowed with"),
        (["exec"], exits.EXEC_FAILED, "NAME"),
        (["run"], exits.EXEC_FAILED, "AGENT|NAME"),
        (["run", "shell", "--colour"], exits.EXEC_FAILED, "unrecognized arguments: --colour"),
        (["run", "shell", "--name", "A b"], exits.EXEC_FAILED, "is not a name"),
        (["create", "--name", "-x", "shell"], exits.USAGE, "--name"),
        (["network"], exits.USAGE, "required: COMMAND"),
        (["network", "lg"], exits.USAGE, "did you mean log"),
        (["network", "log", "--follw"], exits.USAGE, "--follw"),
        (["policy", "explain", "web"], exits.USAGE, "TARGET"),
        (["network", "proxy", "web", "--policy", "open"], exits.USAGE, "--policy"),
    ],
)
def test_wrong_arguments_are_no_changes_and_no_failure(words, code, said, console, capsys):
    with pytest.raises(SystemExit) as ended:
        run(words, console)
    assert ended.value.code == code
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.out == ""


def test_no_command_shows_the_help_as_talk(console, capsys):
    assert run([], console) == exits.USAGE
    assert "commands:" in capsys.readouterr().err


def test_version_is_data(clean_home):
    assert command("version", home=clean_home).stdout == command("--version", home=clean_home).stdout
    assert command("version", home=clean_home).stdout.startswith("sbx 0.")


def failing(monkeypatch, error):
    from sandboxfile.cli.commands import version

    def fail(args, console):
        raise error

    monkeypatch.setattr(version, "run", fail)


def test_a_failure_is_said_with_hint_command_and_output(console, monkeypatch):
    error = HostError("cannot x", hint="do y", command=["a b", "c"], output="1\n\x1b[2J2\n")
    failing(monkeypatch, error)
    assert run(["version"], console) == exits.FAILED
    expected = "error: cannot x\nhint: do y\ncommand: 'a b' c\n  1\n  \N{REPLACEMENT CHARACTER}[2J2\n"
    assert console.err.getvalue() == expected
    assert console.out.getvalue() == ""


def test_several_failures_are_all_said(console, monkeypatch):
    failing(monkeypatch, ExceptionGroup("both", [SandboxfileError("one"), SandboxfileError("two")]))
    assert run(["version"], console) == exits.FAILED
    assert console.err.getvalue() == "error: one\nerror: two\n"


def test_our_own_mistake_is_called_a_bug_and_shows_where(console, monkeypatch):
    failing(monkeypatch, KeyError("oops"))
    assert run(["version"], console) == exits.BUG
    assert "This is a bug in sandboxfile." in console.err.getvalue()
    assert "KeyError: 'oops'" in console.err.getvalue()


def test_an_unreadable_file_is_no_bug(console, monkeypatch):
    failing(monkeypatch, PermissionError(13, "Permission denied", "/x/sandbox.yaml"))
    assert run(["version"], console) == exits.FAILED
    assert console.err.getvalue() == "error: /x/sandbox.yaml: Permission denied\n"


def test_ctrl_c_is_130(console, monkeypatch):
    failing(monkeypatch, KeyboardInterrupt())
    assert run(["version"], console) == exits.INTERRUPTED


def test_a_reader_that_goes_away_is_no_error(clean_home):
    environment = {"HOME": str(clean_home), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        ["bash", "-c", '"$0" -m sandboxfile schema | head -c 1; echo "${PIPESTATUS[0]}"', sys.executable],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stderr == ""
    assert done.stdout.strip() in ("{141", "{0")  # 0: the pipe held all of it


def test_shared_options_go_before_or_after_the_verb_and_short_ones_give_way():
    parser = build_parser()
    assert parser.parse_args(["-f", "x", "version"]).file == "x"
    assert parser.parse_args(["version", "-f", "x"]).file == "x"
    logs = parser.parse_args(["-f", "x", "logs", "-f", "box"])
    assert (logs.file, logs.follow) == ("x", True)
    assert parser.parse_args(["logs", "--file", "x", "box"]).file == "x"
    log = parser.parse_args(["-f", "x", "network", "log", "-f", "box"])
    assert (log.file, log.follow, log.names) == ("x", True, ["box"])
    assert parser.parse_args(["network", "-f", "x", "log"]).file == "x"
    assert parser.parse_args(["policy", "show", "-f", "x", "box"]).file == "x"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["up", "--wiat"], "did you mean --wait"),
        (["up", "-f", "x", "--quite-other"], "sbx up --help"),
        (["validate", "extra"], "sbx validate --help"),
        (["create", "shell", "--zzz"], "sbx create --help"),
        (["network", "log", "--quite-other"], "sbx network log --help"),
    ],
)
def test_what_a_verb_does_not_know_it_refuses_itself(words, hint, console, capsys):
    with pytest.raises(SystemExit):
        run(words, console)
    said = capsys.readouterr().err
    verb = " ".join(word for word in words[:2] if word in ("network", "log") or word == words[0])
    assert said.startswith(f"usage: sbx {verb} ")
    assert said.count("usage:") == 1
    assert f"\nhint: {hint}" in said


def test_the_command_inside_keeps_its_options():
    parse = build_parser().parse_args
    args = parse(["exec", "-it", "-e", "A=1", "-e", "B", "box", "ls", "-e", "--help", "--", "x"])
    assert args.command == ["ls", "-e", "--help", "--", "x"]
    assert (args.interactive, args.tty, args.env, args.name) == (True, True, ["A=1", "B"], "box")
    assert parse(["exec", "box", "--", "-x"]).command[-1] == "-x"


def test_files_and_env_files_may_be_repeated_before_the_verb_and_after_it():
    parser = build_parser()
    args = parser.parse_args(
        ["-f", "a", "--env-file", "x", "policy", "-f", "b", "show", "-f", "c", "--env-file", "y", "w"]
    )
    assert (args.file, args.more_files, args.variables) == ("a", ["b", "c"], ["x", "y"])
