"""Joining the agent's terminal, as the client does it, at a supervisor that is acted."""

import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from sandboxfile.control.client import Interrupted, attach_streams
from sandboxfile.control.messages import AttachAgent, Detached, Exited, Output, Resize, Started
from sandboxfile.control.server import Conversation, listen, serve
from sandboxfile.errors import ControlError, GuestError
from sandboxfile.host.tasks import beside

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def answering(handle: Callable[[Conversation], Coroutine[Any, Any, None]]) -> AsyncIterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="sbx-"))
    try:
        with listen(directory / "c.sock") as listener, anyio.fail_after(20):
            async with beside(lambda: serve(listener, handle)):
                yield directory / "c.sock"
    finally:
        shutil.rmtree(directory)


async def test_the_agents_end_is_the_outcome_and_notes_come_before_it() -> None:
    async def handle(conversation: Conversation) -> None:
        assert len(conversation.descriptors) == 3
        for message in (Started(), Output("a note"), Exited(7)):
            await conversation.send(message)

    notes: list[str] = []
    async with answering(handle) as path:
        outcome = await attach_streams(path, AttachAgent(), on_note=notes.append, forward_signals=False)
    assert (outcome, notes) == (Exited(7), ["a note"])


async def test_being_detached_is_an_outcome_with_its_notes() -> None:
    async def handle(conversation: Conversation) -> None:
        await conversation.send(Started())
        await conversation.send(Detached("attached elsewhere", ("one", "two")))

    notes: list[str] = []
    async with answering(handle) as path:
        outcome = await attach_streams(path, AttachAgent(), on_note=notes.append, forward_signals=False)
    assert isinstance(outcome, Detached)
    assert (outcome.reason, notes) == ("attached elsewhere", ["one", "two"])


async def test_starting_only_passes_no_descriptors_and_waits_for_nothing_more() -> None:
    async def handle(conversation: Conversation) -> None:
        assert conversation.descriptors == ()
        await conversation.send(Started())

    async with answering(handle) as path:
        assert isinstance(await attach_streams(path, AttachAgent(detach=True)), Detached)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_makes_the_client_leave(number: signal.Signals) -> None:
    gone = anyio.Event()

    async def handle(conversation: Conversation) -> None:
        await conversation.send(Started())
        os.kill(os.getpid(), number)
        assert await conversation.receive() is None
        gone.set()

    async with answering(handle) as path:
        assert await attach_streams(path, AttachAgent()) == Interrupted(number)
        await gone.wait()


async def test_a_changed_window_is_told_with_its_size() -> None:
    primary, terminal = os.openpty()

    async def handle(conversation: Conversation) -> None:
        await conversation.send(Started())
        os.kill(os.getpid(), signal.SIGWINCH)
        assert await conversation.receive() == Resize(24, 80)
        await conversation.send(Exited(0))

    async with answering(handle) as path:
        assert await attach_streams(path, AttachAgent(), (terminal,) * 3) == Exited(0)
    os.close(primary)
    os.close(terminal)


async def test_what_the_supervisor_fails_with_and_its_end_are_raised() -> None:
    async def refuse(_: Conversation) -> None:
        raise GuestError("no such agent", hint="another one")

    async def hang_up(conversation: Conversation) -> None:
        await conversation.send(Started())

    async with answering(refuse) as path:
        with pytest.raises(GuestError, match="no such agent"):
            await attach_streams(path, AttachAgent(), forward_signals=False)
    async with answering(hang_up) as path:
        with pytest.raises(ControlError, match="hung up"):
            await attach_streams(path, AttachAgent(), forward_signals=False)
