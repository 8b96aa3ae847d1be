"""Child processes that run to an end, and those that are cut short."""

import sys
from pathlib import Path

import anyio
import pytest

from sandboxfile.errors import BuildError, HostError
from sandboxfile.host.process import run

pytestmark = pytest.mark.anyio


async def test_what_it_printed_is_given_and_each_line_is_seen():
    seen: list[str] = []
    printed = await run(["sh", "-c", "echo one; echo two >&2; printf three"], what="print", on_line=seen.append)
    assert printed == "one\ntwo\nthree"
    assert seen == ["one", "two"]


async def test_a_failure_has_the_command_and_the_output():
    with pytest.raises(BuildError, match="cannot try: sh ended with exit code 3") as caught:
        await run(["sh", "-c", "echo why; exit 3"], what="try", error=BuildError, hint="do this")
    assert caught.value.command == ("sh", "-c", "echo why; exit 3")
    assert caught.value.details() == ["hint: do this", "command: sh -c 'echo why; exit 3'", "  why"]


async def test_a_program_that_is_not_there_is_said():
    with pytest.raises(HostError, match="the program no-such-program is not installed"):
        await run(["no-such-program"], what="try")


async def test_a_cancelled_command_takes_its_children_with_it(tmp_path):
    pid_file = tmp_path / "pid"
    # The child's own child would outlive it.
    command = ["sh", "-c", f'"{sys.executable}" -c "import time; time.sleep(60)" & echo $! >{pid_file}; echo up; wait']
    with anyio.fail_after(20):
        with anyio.CancelScope() as scope:
            await run(command, what="wait", on_line=lambda line: scope.cancel())
        assert scope.cancelled_caught
        while _lives(int(pid_file.read_text())):  # noqa: ASYNC110 - nothing tells when a stranger ends
            await anyio.sleep(0.01)


def _lives(pid: int) -> bool:
    """Whether the process runs; one that is dead and not yet collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
