"""What buildah, podman and docker say when a Dockerfile does not build, in words that name the step. Pure, but for
reading the Dockerfile again, to say which line is wrong.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from sandboxfile.errors import BuildError
from sandboxfile.images.containers import engines
from sandboxfile.images.containers.children import Ended

LINE_LENGTH = 400  # buildah prints whole structures of its own into one line
# The program that makes containers, or their network, is not to be had: nothing of the Dockerfile's.
RUNTIME = re.compile(
    "creating container for|container create message|netavark|slirp4netns|pasta|plugin type|[Cc]onfiguring network"
    "|setup network|exec: .(crun|runc).|cannot find .*runtime"
)
STEPS = re.compile(
    r"^(?:\[\d+/\d+\] )?(?P<buildah>STEP \d+/\d+: .*)$|^(?P<docker>Step \d+/\d+ : .*)$"
    r"|^(?:#\d+ | > )\[(?P<kit>[^\]]*\d+/\d+\] .*?):?$",
    re.MULTILINE,
)
EXIT = re.compile(r"exited with status (\d+)|exit status (\d+)|non-zero code: (\d+)|exit code: (\d+)")
INSTRUCTION = re.compile(r"[Uu]nknown instruction: \"?([A-Za-z]+)\"?")
LINE = re.compile(r"(?:parse error )?(?:on |at )?line (\d+)[:,]? *(.*)", re.IGNORECASE)
BASE = re.compile(
    r"creating build container: |initializing source |pull access denied for |manifest for \S+ not found"
    r"|failed to resolve source metadata for |^ > \[internal\] load metadata for ",
    re.MULTILINE,
)
MISSING_TARGET = re.compile(
    r"target \"?([^\"\s]+)\"? was not found|target stage \"?([^\"\s]+)\"? could not be found"
    r"|reach build target (\S+) in"
)
FROM = re.compile(r"(?:[:\]] )FROM ")
EMPTY = re.compile(r"no contents in|file with no instructions|cannot be empty", re.IGNORECASE)


def explain(file: Path, command: Sequence[str], ended: Ended, built: Path | None = None) -> BuildError:
    """The failure of a build of `file`, with its cause as the message. `built`: the copy that was built."""
    said = "\n".join(line[:LINE_LENGTH] for line in ended.said.splitlines())
    message, hint = _cause(file, said, built or file) or (f"cannot build {file}: {command[0]} failed", None)
    return engines.explain(BuildError(message, hint=hint, command=command, output=said))


def _cause(file: Path, said: str, built: Path) -> tuple[str, str | None] | None:
    step = _step(said)
    if found := INSTRUCTION.search(said):
        return f"{file}{_line_of(built, found[1])}: there is no instruction {found[1].upper()}", None
    if found := MISSING_TARGET.search(said):
        return (
            f"{file} has no stage {next(filter(None, found.groups()))}",
            "`build.target` names one of `FROM ... AS NAME`",
        )
    if EMPTY.search(said):
        return f"{file} has no instructions", None
    if FROM.search(step or "") or (step is None and BASE.search(said)):
        return f"{file}: the base image of {step or 'a stage'} is not to be had", "is its name right, and reachable?"
    if step is not None:
        exits = EXIT.search(said)
        ending = f" with exit code {next(filter(None, exits.groups()))}" if exits else ""
        return f"{file}: {step} failed{ending}", None
    if found := LINE.search(said):
        return f"{file}:{found[1]}: {found[2]}".rstrip(": "), None
    return None


def _step(said: str) -> str | None:
    """The last step that was begun."""
    found = list(STEPS.finditer(said))
    if not found:
        return None
    return found[-1]["buildah"] or found[-1]["docker"] or f"[{found[-1]['kit']}"


def _line_of(file: Path, instruction: str) -> str:
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    for number, line in enumerate(lines, 1):
        if line.strip().upper().split(maxsplit=1)[:1] == [instruction.upper()]:
            return f":{number}"
    return ""
