"""The agent's terminal: at most one agent process inside, whose pty outlives every client that looks at it.

`attach` answers a client: it starts the agent or joins the one that runs, taking over from whoever is there. What the
agent prints is kept a while (`scrollback`), with a client or without; neither a client that is away nor one that does
not read stops the agent for long. Only the agent's own end, and the machine's, ends a session.
"""

import os
import sys
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskGroup

from sandboxfile.control.messages import AttachAgent, Detached, Exited, Output, Resize, Started
from sandboxfile.control.server import Conversation
from sandboxfile.errors import ControlError, GuestError
from sandboxfile.guest.process import Process, Terminal
from sandboxfile.host.tasks import together
from sandboxfile.model.desired import DesiredSandbox
from sandboxfile.model.observed import AgentSession as State
from sandboxfile.supervisor.agent import prepare_agent
from sandboxfile.supervisor.detach_keys import DetachKeys
from sandboxfile.supervisor.executing import Variables, environment
from sandboxfile.supervisor.scrollback import Scrollback
from sandboxfile.supervisor.streams import Stream, opened

if TYPE_CHECKING:  # it loads asyncssh, which can wait until the kernel boots
    from sandboxfile.guest.channel import Guest

_PATIENCE = 30.0  # seconds that an attached terminal may take no output
_QUEUED = 4  # pieces of output that wait for it meanwhile, 64 KiB each at most
_SHRUNK = 0.1  # seconds that the terminal is another size, so that the program notices
_LAST_WORDS = 2.0  # seconds to leave a terminal as it was
_NOTES = 32
_TERM = "xterm-256color"  # for an agent that is started with nobody there


class AgentSession:
    """The agent of one sandbox. `start` comes first.

    `watchers` see all output as it comes; they must not block. `started` counts the agents that there have been;
    `on_ended` is called when one is no more.
    `notes` are lines for the person at the terminal, told when they leave it; the oldest are forgotten when there are
    many.
    """

    def __init__(self) -> None:
        self.watchers: list[Callable[[bytes], None]] = []
        self.on_ended: Callable[[], None] = lambda: None
        self.notes: deque[str] = deque(maxlen=_NOTES)
        self.started = 0
        self._group: TaskGroup
        self._turn = anyio.Lock()  # one starts it, the others join
        self._agent: _Agent | None = None
        self._client: _Client | None = None

    @property
    def state(self) -> State:
        """Whether an agent runs, and with somebody at its terminal."""
        if self._agent is None:
            return "none"
        return "detached" if self._client is None else "attached"

    def start(self, group: TaskGroup) -> None:
        """Agents are followed in this group, and lost with it."""
        self._group = group

    async def attach(
        self,
        conversation: Conversation,
        message: AttachAgent,
        guest: "Guest",
        spec: DesiredSandbox,
        image: Variables = (),
    ) -> None:
        """Answer an `AttachAgent`. Raises GuestError, ControlError."""
        async with self._turn:
            fresh = self._agent is None
            if self._agent is not None:
                _refuse_settings(message, spec)
            agent = self._agent or await self._start(message, guest, spec, image)
            client = None if message.detach else self._join(_Client(message, agent, fresh=fresh))
        try:
            await conversation.send(Started())
            if client is not None:
                await client.stay(conversation)
        finally:
            if client is not None:
                self._part(client)
        if client is not None:
            await self._say_goodbye(conversation, client.outcome)

    def _join(self, client: "_Client") -> "_Client":
        if self._client is not None:
            self._client.leave("attached elsewhere")
        self._client = client
        return client

    def _part(self, client: "_Client") -> None:
        client.close()
        if self._client is client:
            self._client = None

    async def _say_goodbye(self, conversation: Conversation, outcome: "_Outcome") -> None:
        if isinstance(outcome, GuestError):
            raise outcome
        with suppress(ControlError):  # the client is gone
            if outcome is None:
                await conversation.send(Detached("its terminal is gone"))
                return
            notes = tuple(self.notes)
            self.notes.clear()
            if isinstance(outcome, Exited):
                for note in notes:
                    await conversation.send(Output(note))
                await conversation.send(outcome)
            else:
                await conversation.send(Detached(outcome, notes))

    # --- the agent -----------------------------------------------------------------------------------------------

    async def _start(self, message: AttachAgent, guest: "Guest", spec: DesiredSandbox, image: Variables) -> "_Agent":
        from sandboxfile.agents.command import agent_command  # as in `prepare_agent`

        await prepare_agent(guest, spec, image, message.env)
        process = await guest.start(
            agent_command(spec.agent, message.arguments),
            user=spec.user,
            cwd=spec.workdir,
            env=environment(spec, *message.env, image=image),
            terminal=Terminal(message.term or _TERM, message.rows, message.columns),
        )
        self._agent = _Agent(process, (message.rows, message.columns))
        self.started += 1
        self._group.start_soon(self._follow, self._agent, guest)
        return self._agent

    async def _follow(self, agent: "_Agent", guest: "Guest") -> None:
        """Take an agent's output to its end."""
        outcome: Exited | GuestError = GuestError("the sandbox has stopped, and the agent with it")
        try:
            while data := await agent.process.read_stdout():
                agent.output.add(data)
                self._watch(data)
                if self._client is not None:
                    await self._client.show(data)
            outcome = Exited(await agent.process.wait())
        except GuestError as exc:
            outcome = exc
            await guest.end(agent.process)  # only its connection was lost
        finally:
            agent.process.close()
            self._agent = None
            if self._client is not None:
                self._client.finish(outcome)
            self.on_ended()

    def _watch(self, data: bytes) -> None:
        for watcher in tuple(self.watchers):
            try:
                watcher(data)
            except Exception:
                # Our own bug, met by what an agent printed: it is written down, and the sandbox goes on without it.
                traceback.print_exc(file=sys.stderr)
                self.watchers.remove(watcher)


def _refuse_settings(message: AttachAgent, spec: DesiredSandbox) -> None:
    if message.arguments or message.env:
        raise ControlError(
            f"the agent of {spec.id} runs already, with the arguments that it was started with",
            hint=f"join it without arguments, let it end first, or start anew: sbx restart {spec.id}",
        )


class _Agent:
    """A running agent: its process, what is kept of its output, the size of its terminal."""

    def __init__(self, process: Process, size: tuple[int, int]) -> None:
        self.process = process
        self.output = Scrollback()
        self._size = size

    def resize(self, rows: int, columns: int) -> None:
        self._size = (rows, columns)
        self.process.resize(rows, columns)

    async def notice(self, size: tuple[int, int]) -> None:
        """Have another size than `size` for a moment, so that the program notices when it gets that."""
        rows, columns = size
        if self._size == size:
            self.resize(rows - 1 if rows > 1 else rows + 1, columns)
            await anyio.sleep(_SHRUNK)


_Outcome = str | Exited | GuestError | None


class _Client:
    """Somebody at the agent's terminal. `outcome` is why they left, once they have: a reason, or the agent's end.

    None: they are gone.
    """

    def __init__(self, message: AttachAgent, agent: _Agent, *, fresh: bool) -> None:
        self.outcome: _Outcome = None
        self._agent = agent
        self._size = (message.rows, message.columns)
        self._fresh = fresh
        self._keys = DetachKeys(message.detach_keys)
        self._scope = anyio.CancelScope()
        self._output, self._queue = anyio.create_memory_object_stream[bytes](_QUEUED)
        if not fresh:
            self._output.send_nowait(agent.output.replay())

    async def show(self, data: bytes) -> None:
        """Pass output on. Waits for a terminal that is behind, not for ever."""
        try:
            with anyio.fail_after(_PATIENCE):
                await self._output.send(data)
        except TimeoutError:
            self.leave(f"its terminal took no output for {_PATIENCE:.0f} s")
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return  # they have left

    def leave(self, reason: str) -> None:
        """The agent goes on without them."""
        self.outcome = self.outcome or reason
        self._scope.cancel()

    def finish(self, outcome: Exited | GuestError) -> None:
        """The agent has ended: they see the rest of its output."""
        self.outcome = self.outcome or outcome
        self._output.close()
        self._scope.deadline = anyio.current_time() + _PATIENCE

    async def stay(self, conversation: Conversation) -> None:
        """Be at the terminal until they leave, or the agent has ended and they have seen all of it."""
        source, sink = conversation.descriptors[:2]
        with self._scope:
            await together(
                lambda: self._look(sink),
                lambda: self._type(source),
                lambda: self._listen(conversation),
                self._redraw,
            )
        await self._restore(sink)

    def close(self) -> None:
        """No output is for them any more."""
        self._queue.close()
        self._output.close()

    async def _look(self, descriptor: int) -> None:
        """Show what is queued; leave when the terminal hangs up, or all is shown."""
        with suppress(OSError):
            async with opened(descriptor, os.O_WRONLY) as sink:
                async for data in self._queue:
                    await sink.write(data)
        self._scope.cancel()

    async def _type(self, descriptor: int) -> None:
        """Pass on what is typed; leave at the detach keys, and when the terminal hangs up."""
        async with opened(descriptor, os.O_RDONLY) as source:
            while typed := await _read(source):
                wanted = self._keys.pass_on(typed)
                try:
                    await self._agent.process.write(wanted)
                except BrokenPipeError:  # the agent has ended: they are about to see that
                    return
                if self._keys.complete:
                    self.leave("by its keys")
        self._scope.cancel()

    async def _listen(self, conversation: Conversation) -> None:
        """Do what the client says; leave when it is gone."""
        with suppress(ControlError):
            while isinstance(said := await conversation.receive(), Resize):
                self._size = (said.rows, said.columns)
                self._agent.resize(said.rows, said.columns)
        self._scope.cancel()

    async def _redraw(self) -> None:
        """Whoever joins late sees what is kept of the output, and then what the program draws for its new size."""
        if not self._fresh:
            await self._agent.notice(self._size)
            self._agent.resize(*self._size)

    async def _restore(self, descriptor: int) -> None:
        """Leave the terminal as it was, whatever the agent has made of it."""
        ending = b"" if isinstance(self.outcome, Exited) else b"\r\n"
        with anyio.move_on_after(_LAST_WORDS), suppress(OSError):
            async with opened(descriptor, os.O_WRONLY) as sink:
                await sink.write(self._agent.output.undo() + ending)


async def _read(source: Stream) -> bytes:
    with suppress(OSError):
        return await source.read()
    return b""
