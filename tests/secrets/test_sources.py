"""Where values come from; what goes wrong names the source, and never a value."""

import os
import shlex
import traceback

import pytest

from sandboxfile.host.statedir import write_record
from sandboxfile.host.trust import approve, expose
from sandboxfile.model.credential import SecretSource
from sandboxfile.model.desired import DesiredSandbox, FileContent, Image, Workspace
from sandboxfile.model.observed import Applied
from sandboxfile.names import SandboxId
from sandboxfile.planning.trusting import digest_of
from sandboxfile.secrets import sources
from sandboxfile.secrets.commands import CommandTimeout
from sandboxfile.secrets.sources import read
from sandboxfile.secrets.store import Store
from sandboxfile.secrets.values import LIMIT, SecretError


@pytest.fixture
def failure(layout, environ):
    """What `read` raises for a source."""

    def of(source, **options):
        with pytest.raises(SecretError) as caught:
            read(source, layout, environ, **options)
        return caught.value

    return of


def command(script):
    return SecretSource("command", command=("/bin/sh", "-c", script))


# --- variables ---------------------------------------------------------------------------------------------------


def test_a_variable_gives_its_value(layout, environ, value):
    assert read(SecretSource("env", "KEY"), layout, environ | {"KEY": value}) == value


def test_a_variable_that_is_not_set_says_what_to_do(failure):
    exc = failure(SecretSource("env", "KEY"))
    assert exc.message == "the variable KEY is not set"
    assert exc.hint == "export KEY=..."


def test_an_empty_variable_is_no_secret(layout, environ):
    with pytest.raises(SecretError, match="the variable KEY is empty"):
        read(SecretSource("env", "KEY"), layout, environ | {"KEY": ""})


# --- files -------------------------------------------------------------------------------------------------------


@pytest.fixture
def file(clean_home):
    return clean_home / "token"


def test_a_file_is_read_anew_each_time(layout, environ, file):
    source = SecretSource("file", str(file))
    file.write_text("first\n")
    assert read(source, layout, environ) == "first"
    file.write_text("second")
    assert read(source, layout, environ) == "second"


def test_a_link_is_followed(layout, environ, file, clean_home):
    file.write_text("kept elsewhere")
    link = clean_home / "link"
    link.symlink_to(file)
    assert read(SecretSource("file", str(link)), layout, environ) == "kept elsewhere"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "there is no file"),
        (lambda path: path.mkdir(), "it is not a regular file"),
        (lambda path: os.mkfifo(path), "it is not a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "it is not a regular file"),
        (lambda path: path.symlink_to(path), "symbolic links"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(b"\x7fELF\x02\xff"), "is not text"),
        (lambda path: path.write_bytes(b"a\nb\n"), "has more than one line"),
        (lambda path: path.write_bytes(b"a" * (LIMIT + 1)), "is longer than 64 KiB"),
    ],
)
def test_a_file_that_holds_no_value_says_why(failure, file, make, said):
    make(file)
    exc = failure(SecretSource("file", str(file)))
    assert said in exc.message
    assert str(file) in exc.message


def test_a_file_without_end_is_not_read_to_its_end(failure, file):
    with file.open("wb") as sparse:
        sparse.truncate(1 << 40)
    assert "is longer than 64 KiB" in failure(SecretSource("file", str(file))).message


def test_a_file_that_may_not_be_read_says_so(failure, file):
    if os.getuid() == 0:
        pytest.skip("root may read everything")
    file.write_text("x")
    file.chmod(0)
    assert "Permission denied" in failure(SecretSource("file", str(file))).message


# --- commands ----------------------------------------------------------------------------------------------------


def test_a_command_gives_what_it_prints(layout, environ, value):
    assert read(command(f"echo {value}"), layout, environ) == value


def test_a_command_gets_what_the_gateway_gets_whoever_runs_it(layout, environ):
    """What works in front of the user must work later, when nobody is there."""
    given = environ | {"OTHER_SECRET": "x", "LC_ALL": "C"}
    assert read(command('echo "${OTHER_SECRET-none} $LC_ALL"'), layout, given) == "none C"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (command("exit 3"), "ended with exit code 3"),
        (command("kill -15 $$"), "was ended by signal 15"),
        (command("true"), "is empty"),
        (command("echo a; echo b"), "has more than one line"),
        (command("printf 'a\\377'"), "is not text"),
        (command("yes"), "printed more than 64 KiB"),
        (SecretSource("command", command=("no-such-program",)), "cannot be started: No such file"),
        (SecretSource("command", command=("/etc",)), "cannot be started: Permission denied"),
        (SecretSource("command", command=("a\0b",)), "cannot be started: there is a NUL in it"),
    ],
)
def test_a_command_that_gives_no_value_says_why(failure, source, said):
    exc = failure(source)
    assert said in exc.message
    assert exc.message.startswith(("the command", "what the command"))
    assert "run it yourself" in exc.hint


def test_a_command_that_does_not_end_is_told_so(failure, monkeypatch):
    def hang(*_arguments):
        raise CommandTimeout

    monkeypatch.setattr(sources, "run_command", hang)
    assert "did not end within 30 s" in failure(command("x")).message


def test_complaints_are_kept_for_a_terminal_alone(failure):
    source = command("echo not logged in >&2; exit 1")
    assert failure(source).output == ""
    assert failure(source, tell_errors=True).output == "not logged in\n"


def test_a_complaint_with_a_part_of_the_output_in_it_is_shown_to_nobody(failure, value):
    exc = failure(command(f"echo {value}; echo 'cannot verify {value}' >&2; exit 1"), tell_errors=True)
    assert value not in exc.output
    assert "is not shown" in exc.output


def test_what_a_failing_command_printed_is_in_no_exception(failure, file):
    script = file.with_name("script")
    script.write_text("echo s3cret-s3cret; exit 1")
    exc = failure(SecretSource("command", command=("sh", str(script))), tell_errors=True)
    shown = "".join(traceback.format_exception(exc)) + repr(vars(exc))
    assert "s3cret-s3cret" not in shown


# --- the store ---------------------------------------------------------------------------------------------------


def test_a_stored_secret_is_given_by_its_name(layout, environ, value, failure):
    Store(layout, environ).set("tracker", value)
    assert read(SecretSource("store", "tracker"), layout, environ) == value
    assert failure(SecretSource("store", "other")).hint == "sbx secret set other"


# --- programs that a sandbox could have written --------------------------------------------------------------------


@pytest.fixture
def program(clean_home):
    path = clean_home / "shop/token.sh"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\necho good\n")
    path.chmod(0o755)
    return path


def opened(layout, directory, protect=()):
    """A sandbox of any project on record has it."""
    id = SandboxId("other", "web")
    paths = layout.sandbox(id)
    paths.root.mkdir(parents=True)
    workspaces = (Workspace(str(directory), "/x", "rw", protect),)
    spec = DesiredSandbox(id, "shell", Image("d"), workspaces=workspaces)
    write_record(paths, Applied(spec, "", "2026-01-02T03:04:05+00:00", 0))


@pytest.mark.parametrize("words", ["{0}", "sh {0}", "sh -c '. {0}'"])
def test_what_a_sandbox_can_write_is_not_run(layout, environ, failure, program, words):
    named = SecretSource("command", command=tuple(shlex.split(words.format(program))))
    assert read(named, layout, environ) == "good"
    opened(layout, program.parent)
    exc = failure(named)
    assert f"is not run: a sandbox can write to {program}, from {program.parent}" in exc.message
    assert exc.hint == "keep it outside of every workspace"


def test_nor_is_what_is_found_in_a_directory_that_one_can_write(layout, environ, program):
    opened(layout, program.parent)
    with pytest.raises(SecretError, match="a sandbox can write to"):
        read(SecretSource("command", command=("token.sh",)), layout, {**environ, "PATH": str(program.parent)})


def test_nor_a_link_that_one_can_turn(layout, failure, program, clean_home):
    (clean_home / "theirs").mkdir()
    (clean_home / "theirs/link").symlink_to(program.parent)
    opened(layout, clean_home / "theirs")
    assert "is not run" in failure(SecretSource("command", command=(f"{clean_home}/theirs/link/token.sh",))).message


def test_what_one_cannot_write_there_is_run(layout, environ, program):
    opened(layout, program.parent, ("token.sh",))
    approve(layout, [FileContent(str(program), digest_of(program.read_bytes()))])
    assert read(SecretSource("command", command=(str(program),)), layout, environ) == "good"


def test_what_one_could_write_once_is_run_when_it_is_as_approved(layout, environ, failure, program):
    source = SecretSource("command", command=(str(program),))
    expose(layout, {str(program.parent): frozenset()})
    assert f"{program}: new, in the workspace {program.parent}" in failure(source).message
    approve(layout, [FileContent(str(program), digest_of(program.read_bytes()))])
    assert read(source, layout, environ) == "good"
    program.write_text("#!/bin/sh\necho evil\n")
    assert f"{program}: changed" in failure(source).message


def test_a_file_is_not_read_through_a_link_that_a_sandbox_can_turn(layout, environ, failure, clean_home):
    (clean_home / "key").write_text("key\n")
    (clean_home / "mine").symlink_to("key")
    (clean_home / "shop").mkdir()
    (clean_home / "shop/token").write_text("token\n")
    opened(layout, clean_home / "shop")
    assert read(SecretSource("file", f"{clean_home}/mine"), layout, environ) == "key"
    source = SecretSource("file", f"{clean_home}/shop/token")
    assert read(source, layout, environ) == "token"
    (clean_home / "shop/token").unlink()
    (clean_home / "shop/token").symlink_to(clean_home / "key")
    assert f"a sandbox can turn a link on the way to it, from {clean_home}/shop" in failure(source).message
