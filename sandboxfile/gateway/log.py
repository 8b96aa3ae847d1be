"""The network log of one sandbox, on disk: what it reached and what was blocked, a JSON line each.

Bounded in every way: the file is rotated, what waits to be written is limited, and a disk that is full or slow costs
records (counted in `dropped` of the next one), never traffic. Allowed requests wait up to 0.2 s, denials do not.
"""

import time
from collections import OrderedDict
from pathlib import Path

import anyio
from anyio import to_thread

from sandboxfile.gateway.records import Record, line
from sandboxfile.host.rotating import RotatingFile
from sandboxfile.host.saying import say

_DELAY = 0.2  # seconds
_WAITING = 1 << 20  # bytes that may wait for the disk
_REPEATS = 60.0  # seconds in which records that are alike are counted
_KINDS = 1024  # of them that are counted at a time


class NetworkLog:
    """`write` may be called from the event loop at any time; `run` brings it to the disk."""

    def __init__(self, path: Path, sandbox: str) -> None:
        """Raises OSError when the file cannot be opened."""
        self._sandbox = sandbox
        self._file = RotatingFile(path)
        self._lines: list[bytes] = []
        self._size = 0
        self._dropped = 0
        self._failing = False
        self._anything = anyio.Event()
        self._urgent = anyio.Event()
        self._limiter = anyio.CapacityLimiter(1)
        self._repeats: OrderedDict[str, _Repeated] = OrderedDict()

    def write(self, found: Record, *, urgent: bool) -> None:
        """Take a record; never blocks, never raises for what is outside."""
        if self._size > _WAITING:
            self._dropped += 1
            return
        if self._dropped:
            found = found | {"dropped": self._dropped}
            self._dropped = 0
        data = line(found)
        self._lines.append(data)
        self._size += len(data)
        self._anything.set()
        if urgent:
            self._urgent.set()

    def write_repeated(self, key: str, found: Record) -> None:
        """Take a record of which there may be many alike: the first at once, how many more a minute later."""
        now = time.monotonic()
        self._expire(now)
        if (seen := self._repeats.get(key)) is not None:
            seen.count += 1
        elif len(self._repeats) >= _KINDS:
            self._dropped += 1
        else:
            self._repeats[key] = _Repeated(found, now)
            self.write(found | {"count": 1}, urgent=True)

    def _expire(self, now: float) -> None:
        while self._repeats:
            key, seen = next(iter(self._repeats.items()))
            if now - seen.first < _REPEATS:
                return
            del self._repeats[key]
            if seen.count:
                self.write(seen.found | {"count": seen.count}, urgent=False)

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            with anyio.move_on_after(_REPEATS):
                await self._anything.wait()
            self._expire(time.monotonic())
            with anyio.move_on_after(_DELAY):
                await self._urgent.wait()
            self._anything, self._urgent = anyio.Event(), anyio.Event()
            await to_thread.run_sync(self._flush, self._taken(), limiter=self._limiter)

    def close(self) -> None:
        """Write what is left, after `run` has ended."""
        self._expire(float("inf"))
        self._flush(self._taken())
        self._file.close()

    def _taken(self) -> bytes:
        taken = b"".join(self._lines)
        self._lines, self._size = [], 0
        return taken

    def _flush(self, data: bytes) -> None:
        if not data:
            return
        try:
            self._file.write(b"\n" + data if self._failing else data)  # half a line may be there
            self._failing = False
        except OSError as exc:
            self._dropped += data.count(b"\n")  # an estimate: some of it may have been written
            if not self._failing:
                say(f"the network log of {self._sandbox} cannot be written: {exc.strerror}")
            self._failing = True


class _Repeated:
    __slots__ = ("count", "first", "found")

    def __init__(self, found: Record, first: float) -> None:
        self.found = found
        self.first = first
        self.count = 0  # after the first
