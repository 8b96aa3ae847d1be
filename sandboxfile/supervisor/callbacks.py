"""Logins whose last page is on localhost: while somebody is at the agent's terminal, that port leads inside.

An agent that logs in prints a URL with `redirect_uri=http://localhost:PORT/…`, opened in this host's browser, and waits
inside for the browser to come to that port. A guest can print what it likes, so: only where another URL leads back to,
only ports from 1024 on, only on 127.0.0.1, never one in use, two at a time, only while somebody is attached, once for
each port in an agent's life, ten minutes at most; each is written down.
"""

import re
from collections.abc import Awaitable, Callable, Iterator, MutableSequence
from typing import Protocol

import anyio
from anyio.abc import TaskGroup

from sandboxfile.errors import SandboxfileError
from sandboxfile.host.saying import say
from sandboxfile.model.desired import Port
from sandboxfile.model.observed import AgentSession as State
from sandboxfile.supervisor.ports import Ports

_LOWEST = 1024
_AT_ONCE = 2
_LONGEST = 600.0  # seconds
_PAUSE = 5.0  # before a port is looked at again: a URL stays on the screen, and is drawn again and again
_TRIES, _RETRY = 20, 1.0  # the service may begin to listen after the URL was printed
_LOOK = 0.5  # seconds between looks at whether they are still there
_TAIL = 1 << 13  # bytes of a URL's beginning that are kept until its end comes

_ESCAPE = re.compile(
    rb"\x1b\[[0-?]*[ -/]*(?P<final>[@-~])"  # cursor and colours
    rb"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"  # titles, links
    rb"|\x1b[ -/]*[0-~]"
)
_LINK = re.compile(rb"\x1b\]8;[^;\x07\x1b]*;([^\x07\x1b]+)(?=\x07|\x1b\\)")  # the address beneath a text
_MOVES = frozenset(b"ABEFGHdf")  # to another place: what follows does not continue the line
_BREAK = re.compile(rb"[\r\n]+")
_MARGIN = " \t|│┃║".encode()  # what is left and right of a text in a box; stripped byte by byte
_WORD = re.compile(rb"\S+\s?")
_ADDRESS = re.compile(rb"https?://", re.I)
# In a query, as the value of such a name; encoded, or encoded again within another address.
_CALLBACK = re.compile(
    rb"(?:[?&]|%(?:25)*(?:3f|26))(?:redirect(?:_ur[il])?|callback(?:_url)?)(?:=|%(?:25)*3d)"
    rb"https?(?::|%(?:25)*3a)(?:/|%(?:25)*2f){2}(?:localhost|127\.0\.0\.1)(?::|%(?:25)*3a)([0-9]{4,5})(?=[^0-9])",
    re.I,
)


class Finder:
    """Finds such ports in a terminal's output as it comes, in pieces, with URLs broken over lines. Pure."""

    def __init__(self) -> None:
        self._tail = b""

    def feed(self, data: bytes) -> frozenset[int]:
        """The ports in what is on hand now, those that were found before included."""
        seen = self._tail + data
        begin = seen.find(b"http")
        if begin < 0:
            self._tail = seen[-3:]
            return frozenset()
        seen = seen[begin:]
        self._tail = seen[-_TAIL:]
        return frozenset(port for port in _numbers(seen) if _LOWEST <= port <= 65535)


def _numbers(output: bytes) -> Iterator[int]:
    text = _ESCAPE.sub(_plain, output)
    links = b"\n".join(found[1] for found in _LINK.finditer(output)) + b"\n"
    # Both readings: a break within a URL, and a break after it.
    for reading in (text, b"".join(line.strip(_MARGIN) for line in _BREAK.split(text)), links):
        for word in _WORD.findall(reading):
            yield from _in_query(word)


def _in_query(word: bytes) -> Iterator[int]:
    """Those in the query of an address; nothing of a word that is none."""
    address = _ADDRESS.search(word)
    query = -1 if address is None else word.find(b"?", address.end())
    if query >= 0:
        for found in _CALLBACK.finditer(word, query):
            yield int(found[1])


def _plain(escape: "re.Match[bytes]") -> bytes:
    final = escape["final"]
    return b"\n" if final and final[0] in _MOVES else b""


def listens(tables: str, port: int) -> bool:
    """Whether `/proc/net/tcp` and `tcp6` show somebody who listens on a port."""
    for line in tables.splitlines():
        fields = line.split()
        if len(fields) > 3 and fields[3] == "0A" and fields[1].rpartition(":")[2] == f"{port:04X}":
            return True
    return False


# --- acting on it ------------------------------------------------------------------------------------------------


class Session(Protocol):
    """What is needed of the agent's terminal (`sessions`)."""

    watchers: list[Callable[[bytes], None]]

    @property
    def notes(self) -> MutableSequence[str]: ...
    @property
    def state(self) -> State: ...
    @property
    def started(self) -> int: ...


class Callbacks:
    """Those of one sandbox. `tables` gives the guest's `/proc/net/tcp` and `tcp6`; raises SandboxfileError."""

    def __init__(self, session: Session, ports: Ports, tables: Callable[[], Awaitable[str]]) -> None:
        self._session = session
        self._ports = ports
        self._tables = tables
        self._finder = Finder()
        self._agent = session.started  # which one the next two are about
        self._spent: set[int] = set()  # forwarded once: the URL stays on the screen, and the limit would not be one
        self._busy: set[int] = set()
        self._group: TaskGroup

    def start(self, group: TaskGroup) -> None:
        """Watch the terminal; forwards run in this task group."""
        self._group = group
        self._session.watchers.append(self._watch)

    def _watch(self, data: bytes) -> None:
        if self._agent != self._session.started:
            self._agent, self._finder, self._spent = self._session.started, Finder(), set()
        found = self._finder.feed(data)
        if self._session.state != "attached":
            return
        led = {port.host for port in self._ports.listening if port.host == port.guest}
        for port in sorted(found - self._busy - self._spent - led):
            if len(self._busy) < _AT_ONCE:
                self._busy.add(port)
                self._group.start_soon(self._lead, port, self._agent)

    async def _lead(self, port: int, agent: int) -> None:
        try:
            if await self._is_awaited(port) and self._is_watched(agent):
                await self._forward(port, agent)
            await anyio.sleep(_PAUSE)
        except SandboxfileError as exc:
            self._note(f"what waits on port {port} inside, perhaps for a login, cannot be reached: {exc}")
            await self._leaving(agent)  # said once
        finally:
            self._busy.discard(port)

    async def _is_awaited(self, port: int) -> bool:
        """Whether somebody inside listens there. Not tried by connecting: some take one connection, and no more."""
        for _ in range(_TRIES):
            if listens(await self._tables(), port):
                return True
            await anyio.sleep(_RETRY)
        return False

    async def _forward(self, port: int, agent: int) -> None:
        self._spent.add(port)
        async with self._ports.forward(Port(port, port)):
            self._note(f"port 127.0.0.1:{port} of this host leads to the sandbox, for a login")
            await self._leaving(agent)
        say(f"port {port} no longer leads to the sandbox")

    def _is_watched(self, agent: int) -> bool:
        """Whether somebody is attached, and to this agent still."""
        return self._session.state == "attached" and self._session.started == agent

    async def _leaving(self, agent: int) -> None:
        """Wait until nobody is, ten minutes at most."""
        with anyio.move_on_after(_LONGEST):
            while self._is_watched(agent):  # noqa: ASYNC110 - only while something is forwarded
                await anyio.sleep(_LOOK)

    def _note(self, text: str) -> None:
        say(text)
        self._session.notes.append(text)
