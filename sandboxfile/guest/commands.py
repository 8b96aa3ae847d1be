"""Commands as the guest's shells get them: one line that enters a directory and becomes the program. Pure.

Every process that we start can be found again from inside: its environment holds SBX_EXEC_ID=ID.GROUP, with an id of
ours and the number of its process group. So it can be signalled when it runs as another user (sudo), and when the
connection that started it is gone; sshd can do neither.
"""

import re
import shlex
from collections.abc import Mapping, Sequence

from sandboxfile.errors import GuestError

MARK = "SBX_EXEC_ID"
NOT_FOUND = 3  # exit code of `kill_command`
NO_DIRECTORY = 125  # the line's exit code when the directory cannot be entered; a program may use it, too
_LIMIT = 120_000  # bytes; the kernel takes 128 KiB for one argument, and the whole line is one
_SSH_VARIABLES = 100  # sshd ignores what comes after the 128th
_SSHD_SETS = ("PATH", "HOME", "USER", "LOGNAME")  # after it has taken what a client asks for
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")

# kill ID SIGNAL. One pass over all environments: our grep ends a line at its first NUL, and a loop takes seconds.
_KILL = f"""\
export PATH=/run/sbx/bin
group=$(cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | sed -n "s/.*{MARK}=$1\\.//p" | head -n 1)
case $group in '' | *[!0-9]* | 0 | 1) exit 3 ;; esac
kill -"$2" "-$group" 2>/dev/null || exit 3
"""


def split_environment(env: Sequence[tuple[str, str]]) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """What goes by SSH requests, and what must go by the command line: what sshd sets itself, and the surplus."""
    variables = dict(env)
    by_line = {name: variables.pop(name) for name in _SSHD_SETS if name in variables}
    for name in [name for name in variables if _NAME.match(name)][_SSH_VARIABLES:]:
        by_line[name] = variables.pop(name)
    return variables, by_line


def command_line(id: str, argv: Sequence[str], cwd: str | None, exports: Mapping[str, str]) -> str:
    """The line for a command that replaces the shell. Raises GuestError when it is too long, or no line can say it."""
    words = " ".join(shlex.quote(word) for word in argv)
    return _checked(argv, f"export {MARK}={id}.$$; {_prelude(cwd, exports)}exec {words}")


def detached_line(argv: Sequence[str], cwd: str | None, exports: Mapping[str, str]) -> str:
    """The line for a command that lives on alone, unmarked, in a session of its own, connected to nothing."""
    words = " ".join(shlex.quote(word) for word in argv)
    program = shlex.quote(argv[0])
    missing = f"command -v {program} >/dev/null || {{ echo {program}: not found >&2; exit 127; }}; "
    # The user's shell starts it: setsid itself, a busybox, would prefer its own applets to the template's programs.
    alone = f'/run/sbx/bin/setsid "$SHELL" -c \'exec "$@"\' sh {words} </dev/null >/dev/null 2>&1 &'
    return _checked(argv, _prelude(cwd, exports) + missing + alone)


def kill_command(id: str, signal: str) -> tuple[str, ...]:
    """What root runs to signal the process group of a command. Exit code NOT_FOUND: there is none."""
    return ("/run/sbx/bin/sh", "-c", _KILL, "sh", id, signal)


def _prelude(cwd: str | None, exports: Mapping[str, str]) -> str:
    parts = [f"export {name}={shlex.quote(value)}" for name, value in exports.items()]
    if cwd is not None:
        parts.append(f"cd -- {shlex.quote(cwd)} 2>/dev/null || exit {NO_DIRECTORY}")
    return "".join(f"{part}; " for part in parts)


def _checked(argv: Sequence[str], line: str) -> str:
    if "\0" in line:
        raise GuestError("a command cannot hold NUL characters")
    if argv[0].startswith("-"):
        raise GuestError(f"no program can be called {argv[0]!r}")
    if len(line.encode()) > _LIMIT:
        raise GuestError(
            f"the command is too long: {len(line.encode())} bytes of at most {_LIMIT}",
            hint="pass long input by stdin, or by a file in a workspace",
        )
    return line
