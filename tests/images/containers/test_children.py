"""Programs that are asked to end before they are made to."""

import sys
from pathlib import Path

import anyio
import pytest

from sandboxfile.errors import BuildError
from sandboxfile.images.containers import children
from sandboxfile.images.containers.children import run_tied

pytestmark = pytest.mark.anyio


async def test_output_and_errors_are_apart_unless_lines_are_wanted():
    script = "echo out; echo err >&2; exit 3"
    done = await run_tied(("sh", "-c", script))
    assert (done.code, done.output, done.said) == (3, b"out\n", "err\n")
    lines = []
    done = await run_tied(("sh", "-c", script), on_line=lines.append)
    assert (done.code, done.output, done.said) == (3, b"", "out\nerr\n")
    assert lines == ["out", "err"]


async def test_bytes_come_out_as_they_are():
    done = await run_tied(("printf", r"a\r\n\377\0b"))
    assert done.output == b"a\r\n\xff\0b"


async def test_what_is_kept_is_bounded(monkeypatch):
    monkeypatch.setattr(children, "OUTPUT_LIMIT", 1000)
    monkeypatch.setattr(children, "SAID_LIMIT", 100)
    monkeypatch.setattr(children, "LINE_LIMIT", 10)
    script = "head -c 300000 /dev/zero | tr '\\0' x; echo; echo end"
    assert len((await run_tied(("sh", "-c", script))).output) == 1000
    lines = []
    done = await run_tied(("sh", "-c", script), on_line=lines.append)
    assert done.said.endswith("x\nend\n")
    assert len(done.said) == 100
    assert max(map(len, lines)) == 10
    assert lines[-1] == "end"


async def test_a_program_that_is_not_there_is_said_with_its_package():
    with pytest.raises(BuildError, match="no-such-program is not installed") as caught:
        await run_tied(("no-such-program",), hint="apt install it")
    assert caught.value.hint == "apt install it"


async def test_a_cancelled_program_may_clean_up(tmp_path):
    script = f'trap "echo cleaned >{tmp_path}/trace; exit" TERM; echo ready; while :; do sleep 0.01; done'
    await cancelled_when_ready(script)
    assert (tmp_path / "trace").read_text() == "cleaned\n"


async def test_one_that_does_not_end_is_made_to_with_all_it_started(tmp_path, monkeypatch):
    monkeypatch.setattr(children, "GRACE", 0.1)
    script = f'trap "" TERM; sleep 1000 & echo $! >{tmp_path}/pid; echo ready; while :; do sleep 0.01; done'
    await cancelled_when_ready(script)
    await ended(int((tmp_path / "pid").read_text()))


async def cancelled_when_ready(script):
    async with anyio.create_task_group() as group:

        def ready(line):
            if line == "ready":
                group.cancel_scope.cancel()

        with anyio.fail_after(30):
            await run_tied(("sh", "-c", script), on_line=ready)


async def ended(pid):
    with anyio.fail_after(30):
        while is_running(pid):  # noqa: ASYNC110 - nobody tells us of a grandchild
            await anyio.sleep(0.01)


def is_running(pid):
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


PARENT = """
import anyio, sys
from sandboxfile.images.containers.children import run_tied
anyio.run(lambda: run_tied(("sh", "-c", sys.argv[1]), on_line=lambda line: print(line, flush=True)))
"""


async def test_when_we_are_killed_it_is_told_to_end(tmp_path):
    script = f'trap "echo told >{tmp_path}/trace; exit" TERM; echo $$; while :; do sleep 0.01; done'
    command = [sys.executable, "-c", PARENT, script]
    async with await anyio.open_process(command) as parent:
        assert parent.stdout is not None
        child = int(await parent.stdout.receive())
        parent.kill()
    await ended(child)
    assert (tmp_path / "trace").read_text() == "told\n"
