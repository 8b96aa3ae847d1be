"""One connection from a supervisor to the gateway: questions, answers, and its end. Knows no policy and no network."""

from collections.abc import Sequence

import anyio

from sandboxfile.control.egress import Message, Role, decode, encode
from sandboxfile.control.messages import LINE_LIMIT
from sandboxfile.control.wire import Wire
from sandboxfile.errors import ControlError, HostError

_ANSWER_TIMEOUT = 20.0  # seconds for one answer; 0.01 is usual
Key = tuple[Role, int]


class Link:
    """Asks one thing at a time, and is attended by one task. A question that fails, however, ends it: the answer
    might still come, and be taken for that to the next one.
    """

    def __init__(self, wire: Wire) -> None:
        self.listening: set[Key] = set()
        self.trouble: ControlError | None = None
        self._wire = wire
        self._turn = anyio.Lock()
        self._scope = anyio.CancelScope()
        self._came, self._replies = anyio.create_memory_object_stream[Message](1)

    async def attend(self) -> None:
        """Take its answers until its end. Raises ControlError for one to nothing."""
        with self._scope, self._came:
            while (line := await self._wire.receive()) is not None:
                if not self._turn.locked() or self._came.statistics().current_buffer_used:
                    raise ControlError("the gateway answers what nobody asked")
                self._came.send_nowait(decode(line))

    async def ask(self, message: Message, fds: Sequence[int] = ()) -> Message:
        """Its answer. Raises ControlError when none comes, HostError when the question is too long."""
        line = encode(message)
        if len(line) > LINE_LIMIT:
            raise HostError(
                f"the policy is too large: {len(line)} bytes, of {LINE_LIMIT}", hint="use wildcards, or fewer rules"
            )
        async with self._turn:
            try:
                with anyio.fail_after(_ANSWER_TIMEOUT):
                    await self._wire.send(line, fds)
                    return await self._replies.receive()
            except (TimeoutError, anyio.EndOfStream) as exc:
                late = isinstance(exc, TimeoutError)
                self.trouble = ControlError(f"no answer within {_ANSWER_TIMEOUT:.0f} s" if late else "it hung up")
                self.end()
                raise self.trouble from exc
            except BaseException:
                self.end()
                raise

    def end(self) -> None:
        """Whoever attends returns."""
        self._scope.cancel()

    def close(self) -> None:
        """Nobody attends any more."""
        self._came.close()
        self._replies.close()
        self._wire.close()
