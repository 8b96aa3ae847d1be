"""The variables that `${...}` in a sandbox file stands for: the environment over `.env` over `--env-file`.

`.env` is the one beside the file, in the syntax of an env_file. Reads, and decides nothing else: what a variable is
put into is `language.interpolate`'s, and that a sandbox cannot write these files is `resolve`'s.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sandboxfile.diagnostics import Diagnostics, error
from sandboxfile.errors import HostError, NotFoundError
from sandboxfile.host.files import read_file
from sandboxfile.language.document import FILE_LIMIT, decode
from sandboxfile.resolve.env_file import parse_env_file

DOT_ENV = ".env"
PROFILES = "SBX_PROFILES"  # which sandboxes with profiles are meant, with commas


@dataclass(frozen=True, slots=True)
class Variables:
    """Values by name, and what is wrong with the `files` that were read, or would have been, had they been there.

    `sources` are their texts by the name that spans have.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    problems: Diagnostics = ()
    files: tuple[Path, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)


def read_variables(
    directory: Path,
    env_files: Sequence[Path],
    environ: Mapping[str, str],
    read: Callable[[Path], bytes] = read_file,
) -> Variables:
    """All that there are for a file in `directory`. Of several `env_files` the later count.

    Raises NotFoundError for an env file that is not there; `.env` need not be.
    """
    values: dict[str, str] = {}
    problems: Diagnostics = ()
    sources: dict[str, str] = {}
    files = (*env_files, directory / DOT_ENV)
    for path in files:
        text, wrong = _text(path, read, optional=path == files[-1])
        found, malformed = parse_env_file(text, str(path))
        sources[str(path)] = text
        problems += (*wrong, *malformed)
        values.update({name: value for name, value in found.items() if value is not None})
    return Variables({**values, **environ}, problems, files, sources)


def chosen_profiles(values: Mapping[str, str]) -> tuple[str, ...]:
    """Those that variables name, each once."""
    found = (part.strip() for part in values.get(PROFILES, "").split(","))
    return tuple(dict.fromkeys(part for part in found if part))


def _text(path: Path, read: Callable[[Path], bytes], *, optional: bool) -> tuple[str, Diagnostics]:
    try:
        text, problems = decode(read(path), str(path))
    except NotFoundError:
        if not optional:
            raise
        return "", ()
    except HostError as exc:
        return "", (error("env_file not readable", f"{exc.message[:1].upper()}{exc.message[1:]}.", hint=exc.hint),)
    if text is not None and len(text) > FILE_LIMIT:
        return "", (error("File too long", f"`{path}` is longer than {FILE_LIMIT >> 10} KiB."),)
    return text or "", problems
