"""The files of a project besides its sandbox file: what lies upon it, and whatever those name.

Reads, and decides nothing else: how files become one is `language.loading`'s.
"""

from collections.abc import Callable
from pathlib import Path

from sandboxfile.errors import HostError, NotFoundError
from sandboxfile.host.files import read_file
from sandboxfile.language.document import decode

OVERRIDE_FILES = ("sandbox.override.yaml", "sandbox.override.yml")  # beside the sandbox file; the first that is there


def overrides_of(sandbox_file: Path) -> tuple[Path, ...]:
    """Where a file could be that is merged upon this one, the one that counts first."""
    return tuple(sandbox_file.with_name(name) for name in OVERRIDE_FILES)


def read_named(name: str, read: Callable[[Path], bytes] = read_file) -> tuple[str | None, str]:
    """The text of a file that another one names (`~/` is this user's home); or None, and in a clause why."""
    try:
        text, problems = decode(read(located(name)), name)
    except NotFoundError:
        return None, "there is no such file"
    except HostError as exc:
        return None, exc.message
    return text, "it is not UTF-8" if problems else ""


def located(name: str) -> Path:
    """The path that a name stands for."""
    return Path.home() / name[2:] if name.startswith("~/") else Path(name)
