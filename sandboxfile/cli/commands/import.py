"""Write a sandbox.yaml made of another program's file, and say what it could not carry over.

SOURCE is a file, or - for standard input. What kind it is shows in it, unless KIND says so: proxy-config (network
policy of Docker Sandboxes), commands (lines of `docker sandbox run|create|network proxy`), sbxenv (Docker's sandbox
environment file), compose, devcontainer. A command line can be given as words, after --:

  sbx import -- docker sandbox run --name web claude . ~/docs:ro

What is written loads without errors; everything that is missing in it is told, with its place and the reason, on
standard error and at the head of the file. Nothing is overwritten without --force.
"""

import argparse
import shlex
import sys
from pathlib import Path

from sandboxfile import pipeline
from sandboxfile.cli import exits
from sandboxfile.cli.project import show_diagnostics, this_layout
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.text import harmless
from sandboxfile.errors import SandboxfileError
from sandboxfile.host.durable import write_atomic
from sandboxfile.host.files import read_file
from sandboxfile.host.layout import SANDBOX_FILES
from sandboxfile.importing import KINDS, Imported, Source, convert, detect
from sandboxfile.language.document import FILE_LIMIT, decode

STANDARD = "-"  # input, and output
_MODE = 0o644  # of a file that was not there


def register(parser: argparse.ArgumentParser) -> None:
    parser.passes_on = True  # type: ignore[attr-defined]
    parser.add_argument(
        "-o", "--output", metavar="FILE", default=SANDBOX_FILES[0], help="default: %(default)s; - prints it"
    )
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    parser.add_argument("words", metavar="[KIND] SOURCE", nargs="*", help=f"KIND is one of {', '.join(KINDS)}")


def run(args: argparse.Namespace, console: Console) -> int:
    kind, name = chosen(args.words, bool(args.arguments))
    target = Path.cwd() if args.output == STANDARD else Path(args.output).absolute().parent
    if args.output != STANDARD and not args.force:
        refuse_existing(Path(args.output))
    source = command_line(args.arguments, target) if args.arguments else read_source(name, target)
    kind = kind or detect(source)
    if kind is None:
        raise SandboxfileError(f"what {name} is does not show in it", hint=f"sbx import KIND {name}; {_kinds()}")
    imported = convert(kind, source)
    tell(imported, source, console)
    if imported.text is None:
        return exits.FAILED
    if args.output == STANDARD:
        console.print(imported.text.rstrip("\n"))
        return exits.OK
    write(Path(args.output), imported.text, force=args.force)
    tell_of_this_host(Path(args.output), console)
    console.say(f"wrote {args.output}; next: sbx plan")
    return exits.OK


def chosen(words: list[str], given: bool) -> tuple[str | None, str]:
    """KIND, if it is said, and SOURCE. With `given` words after -- there is no SOURCE. Raises SandboxfileError."""
    kind = words[0] if words and words[0] in KINDS and (given or len(words) > 1) else None
    rest = words[1:] if kind else words
    if len(rest) != (0 if given else 1):
        hint = f"sbx import [KIND] SOURCE, or sbx import -- docker sandbox run …; {_kinds()}"
        raise SandboxfileError("one source is imported at a time", hint=hint)
    return (kind or "commands", "") if given else (kind, rest[0])


def _kinds() -> str:
    return f"kinds are {', '.join(KINDS)}"


def command_line(words: list[str], target: Path) -> Source:
    """Words as the shell has left them: nothing in them is to be replaced any more."""
    return Source(shlex.join(words), "command line", str(Path.cwd()), str(target), is_file)


def read_source(name: str, target: Path) -> Source:
    """A file or standard input, as text. Raises NotFoundError, HostError, and SandboxfileError when it is no text."""
    if name == STANDARD:
        data, directory, shown = sys.stdin.buffer.read(4 * FILE_LIMIT + 1), Path.cwd(), "standard input"
    else:
        data, directory, shown = read_file(Path(name)), Path(name).absolute().parent, name
    text, problems = decode(data, shown)
    if text is None:
        raise SandboxfileError(f"{shown} is not text: {problems[0].detail}", hint=problems[0].hint)
    return Source(text, shown, str(directory), str(target), is_file)


def is_file(path: str) -> bool:
    """Whether there is a file, and no directory. What cannot be looked at is none."""
    try:
        return Path(path).expanduser().is_file()
    except (OSError, RuntimeError):
        return False


def tell(imported: Imported, source: Source, console: Console) -> None:
    """What is wrong, and what is left behind, on standard error."""
    show_diagnostics(imported.diagnostics, {source.filename: source.text}, console)
    if imported.text is not None and imported.notes:
        console.say("not carried over, or with less meaning:")
        console.say("\n".join(f"  {harmless(str(note))}" for note in imported.notes))


def tell_of_this_host(path: Path, console: Console) -> None:
    """What a valid file lacks here all the same: a directory that is not there, one that cannot be a workspace."""
    loaded = pipeline.load(path, this_layout())
    show_diagnostics(loaded.diagnostics, loaded.sources, console)


def refuse_existing(path: Path) -> None:
    """Nobody's file is overwritten unasked, nor hidden by one of the other name. Raises SandboxfileError."""
    names = [path.name, *(SANDBOX_FILES if path.name in SANDBOX_FILES else ())]
    for place in (path.with_name(name) for name in names):
        if place.exists() or place.is_symlink():
            raise SandboxfileError(
                f"{place} exists already", hint="--force overwrites it; -o - prints what would be written"
            )


def write(path: Path, text: str, *, force: bool) -> None:
    """The file as one step. Without `force` it is made anew, or there is an error."""
    if not force:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
        return
    mode = path.stat().st_mode & 0o777 if path.is_file() else _MODE
    write_atomic(path, text.encode())
    path.chmod(mode)
