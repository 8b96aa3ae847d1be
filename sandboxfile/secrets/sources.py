"""The value that a source gives now: a variable, a file, a command, the store. Blocking; keeps nothing, caches nothing.

What is raised says which source and why, and never a part of a value.
"""

import os
import shlex
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from sandboxfile.host.file_digests import FileDigests
from sandboxfile.host.layout import Layout
from sandboxfile.host.spawn import passed_on
from sandboxfile.host.trust import find_doubts, written_from
from sandboxfile.model.credential import SecretSource
from sandboxfile.model.desired import FileContent
from sandboxfile.secrets.commands import TIMEOUT, CommandFlood, CommandTimeout, Ended, run_command
from sandboxfile.secrets.store import Store
from sandboxfile.secrets.values import LIMIT, SecretError, usable

_SHOWN = 1000  # characters of what a failed command complained
_TELLING = 4  # characters of a word that, printed on both streams, may be of the value


def read(source: SecretSource, layout: Layout, environ: Mapping[str, str], *, tell_errors: bool = False) -> str:
    """The value. Raises SecretError when there is none, or none that can be used; StateError.

    Whoever reads, programs get the part of the environment that the gateway has too: what works before a sandbox boots
    works later. `tell_errors`: the error of a command that fails has the end of its standard error as `output`; that
    is for the user's own terminal alone.
    """
    match source.kind:
        case "env":
            return _variable(source.name, environ)
        case "file":
            _refuse_turned(source.name, layout)
            return read_secret_file(Path(source.name))
        case "command":
            _refuse_written(source.command, layout, environ)
            return _printed(source.command, environ, tell_errors)
        case "store":
            return Store(layout, passed_on(environ)).get(source.name)


def _variable(name: str, environ: Mapping[str, str]) -> str:
    value = environ.get(name)
    if value is None:
        raise SecretError(f"the variable {name} is not set", hint=f"export {name}=...")
    return usable(value, f"the variable {name}")


# --- files -------------------------------------------------------------------------------------------------------


def _refuse_turned(path: str, layout: Layout) -> None:
    """What a link leads to that a sandbox can turn may be any file of this host. Raises SecretError."""
    if "\0" in path:
        return
    if os.path.realpath(path) != os.path.normpath(path) and (directory := written_from(layout, path)):
        detail = f"the file {path} is not read: a sandbox can turn a link on the way to it, from {directory}"
        raise SecretError(detail, hint="name the file itself, outside of every workspace")


def read_secret_file(path: Path) -> str:
    """The value in a regular file. Raises SecretError."""
    try:
        # Without O_NONBLOCK a FIFO would wait for a writer, for ever.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (FileNotFoundError, NotADirectoryError):
        raise SecretError(f"there is no file {path}", hint="write the secret into it, and chmod 600 it") from None
    except OSError as exc:
        raise SecretError(f"cannot read {path}: {exc.strerror}", hint=f"ls -l {shlex.quote(str(path))}") from None
    except ValueError:
        raise SecretError("the name of the file has a NUL in it") from None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise SecretError(f"cannot read {path}: it is not a regular file")
        with os.fdopen(handle, "rb", closefd=False) as file:
            return usable(file.read(LIMIT + 3), f"the file {path}")  # a newline, and one byte too many
    except OSError as exc:
        raise SecretError(f"cannot read {path}: {exc.strerror}") from None
    finally:
        os.close(handle)


# --- commands ----------------------------------------------------------------------------------------------------


def _refuse_written(command: tuple[str, ...], layout: Layout, environ: Mapping[str, str]) -> None:
    """Nothing runs on this host that a sandbox can write, or could, and nobody has approved since. Raises SecretError.

    Here, as everybody comes by here: sandboxes start without anybody looking at their files.
    """
    from sandboxfile.resolve.inputs import command_paths  # here: most sources are no commands

    home = str(Path.home())
    program = shutil.which(command[0], path=environ.get("PATH")) or command[0]
    named = [path for path in command_paths(command, home) if not os.path.isdir(path)]  # noqa: PTH112
    name = f"the command {shlex.join(command)} is not run"
    first = [] if "\0" in program else [os.path.join(home, program)]  # noqa: PTH118
    for path in dict.fromkeys((*first, *named)):
        if directory := written_from(layout, path):
            detail = f"{name}: a sandbox can write to {path}, from {directory}"
            raise SecretError(detail, hint="keep it outside of every workspace")
    with FileDigests(layout.file_digests) as digests:
        files = [FileContent(path, digests.of(os.path.realpath(path))) for path in named if os.path.isfile(path)]  # noqa: PTH113
    for doubt in find_doubts(layout, files):
        raise SecretError(f"{name}, and could be a sandbox's: {doubt.words}", hint="look at it; sbx trust approves it")


def _printed(command: tuple[str, ...], environ: Mapping[str, str], tell_errors: bool) -> str:
    name = f"the command {shlex.join(command)}"
    hint = "run it yourself, in your home directory: it must print the secret and nothing else"
    try:
        ended = run_command(command, passed_on(environ))
    except OSError as exc:
        raise SecretError(f"{name} cannot be started: {exc.strerror}", hint=hint) from None
    except ValueError:
        raise SecretError(f"{name} cannot be started: there is a NUL in it", hint=hint) from None
    except CommandTimeout:
        raise SecretError(f"{name} did not end within {TIMEOUT:g} s", hint=hint) from None
    except CommandFlood:
        raise SecretError(f"{name} printed more than {LIMIT >> 10} KiB", hint=hint) from None
    if ended.code != 0:
        said = f"was ended by signal {-ended.code}" if ended.code < 0 else f"ended with exit code {ended.code}"
        raise SecretError(f"{name} {said}", hint=hint, output=_complaint(ended) if tell_errors else "")
    return usable(ended.output, f"what {name} printed", hint)


def _complaint(ended: Ended) -> str:
    """The end of its standard error, unless a part of what it printed otherwise is in it too."""
    complaint = ended.errors.decode(errors="replace")
    words = ended.output.decode(errors="replace").split()
    if any(len(word) >= _TELLING and word in complaint for word in words):
        return "(what it said is not shown: a part of what it printed is in it)"
    return complaint[-_SHOWN:]
