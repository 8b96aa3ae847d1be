"""Logins: which ports a terminal's output speaks of, however it is broken up, and when one of them leads inside."""

import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxfile.errors import GuestError, HostError
from sandboxfile.host.tasks import beside
from sandboxfile.model.desired import Port
from sandboxfile.supervisor import callbacks as module
from sandboxfile.supervisor.callbacks import Callbacks, Finder, listens

CODED = "https://login.example.com/authorize?client_id=a&redirect_uri=http%3A%2F%2Flocalhost%3A{}%2Fauth%2Fcallback&s=1"
PLAIN = "https://login.example.com/authorize?redirect_uri=http://127.0.0.1:{}/callback&state=x"
NAMED = "open https://login.example.com/a?x=1&callback=http://localhost:{}/ in your browser"
BARE = "open http://localhost:{}/ in your browser"
TWICE = "https://login.example.com/?next=%2Fo%3Fredirect_uri%3Dhttp%253A%252F%252Flocalhost%253A{}%252Fcb"
URLS = (CODED, PLAIN, NAMED, TWICE)
# What terminals are sent in the middle of a text that is too wide: Ink's and ratatui's ways among them.
BREAKS = (
    "\r\n",
    "\n",
    "  \r\n    ",
    " │\r\n│ ",
    "\x1b[0m\x1b[K\r\n\x1b[38;5;12m",
    "\x1b[12;3H",
    "\x1b[1E",
    "\x1b[m\x1b]0;title\x07",
)


@given(
    url=st.sampled_from(URLS),
    port=st.integers(1024, 65535),
    breaks=st.lists(st.tuples(st.integers(0, 200), st.sampled_from(BREAKS)), max_size=4),
    cuts=st.lists(st.integers(0, 400), max_size=6),
    before=st.binary(max_size=300),
)
def test_a_callback_is_found_wherever_its_url_and_the_output_are_broken(url, port, breaks, cuts, before):
    text = url.format(port)
    begin = text.index("http") + 4
    for place, what in sorted(breaks, reverse=True):
        if begin + place < len(text):
            text = text[: begin + place] + what + text[begin + place :]
    output = before.replace(b"\x1b", b"") + b"\r\n" + text.encode() + b"\r\n"
    finder, found = Finder(), set()
    edges = [0, *sorted(min(cut, len(output)) for cut in cuts), len(output)]
    for start, end in pairwise(edges):
        found |= finder.feed(output[start:end])
    assert port in found


@given(pieces=st.lists(st.binary() | st.sampled_from([url.format(99999).encode() for url in URLS])))
def test_nothing_that_is_printed_breaks_it_or_makes_it_find_what_is_no_port_or_keep_more(pieces):
    finder = Finder()
    for piece in pieces:
        assert all(1024 <= port <= 65535 for port in finder.feed(piece))
        assert len(finder._tail) <= module._TAIL


@pytest.mark.parametrize(
    "address",
    [
        *(f"http://localhost:{port}/" for port in (80, 443, 999, 70000, 14551455)),
        *(f"http://{host}:1455/" for host in ("example.com", "localhost.example.com", "10.0.0.1")),
        *("ftp://localhost:1455/", "localhost:1455", "//localhost:1455/", "http://localhost/"),
    ],
)
def test_other_hosts_and_ports_are_none(address):
    assert Finder().feed(f"https://login.example.com/?redirect_uri={address} ".encode()) == frozenset()


@pytest.mark.parametrize(
    "name", ["redirect_uri", "redirect_url", "redirect", "callback", "callback_url", "Redirect_URI"]
)
@pytest.mark.parametrize("mark", "?&")
def test_an_address_counts_under_each_name_that_logins_have_for_it(name, mark):
    address = f"https://login.example.com/?a=b{mark}{name}=http://localhost:1455/ "
    assert Finder().feed(address.encode()) == {1455}


@pytest.mark.parametrize(
    "output",
    [
        BARE.format(1455),
        "http://localhost:1455/?redirect_uri=http://example.com/ ",
        "redirect_uri=http://localhost:1455/ ",
        "?redirect_uri=http://localhost:1455/ ",
        "https://example.com/ ?redirect_uri=http://localhost:1455/ ",
        "https://example.com/redirect_uri=http://localhost:1455/ ",
        "https://example.com/?next=http://localhost:1455/ ",
        "https://example.com/?no_redirect=http://localhost:1455/ ",
        "https://example.com/?redirect_uri=x&http://localhost:1455/ ",
        "https://example.com/\r\nhttp://localhost:1455/\r\n",
    ],
)
def test_an_address_counts_only_where_another_one_leads_back_to_it(output):
    assert Finder().feed(output.encode()) == frozenset()


def test_a_port_whose_end_is_still_to_come_is_none():
    assert Finder().feed(b"https://login.example.com/?redirect_uri=http://localhost:1455") == frozenset()


def test_the_address_beneath_a_link_counts():
    assert Finder().feed(b"\x1b]8;id=1;" + PLAIN.format(1455).encode() + b"\x1b\\click here\x1b]8;;\x1b\\") == {1455}
    assert Finder().feed(b"\x1b]8;;" + CODED.format(1456).encode() + b"\x07log in\x1b]8;;\x07") == {1456}


@pytest.mark.parametrize(
    "unit",
    [b" ", b"\x1b", b"\x1b[", b"\x1b]", b"\x1b]8;", b"http", b"http://", b"?redirect_uri=", b"%25", b"?", b"\n |"],
)
def test_output_made_to_be_slow_to_read_is_not(unit):
    finder = Finder()
    flood = (b"http" + unit * (1 << 16))[: 1 << 16]
    began = time.process_time()
    for _ in range(20):
        finder.feed(flood)
    assert time.process_time() - began < 4  # 0.05 is usual


TABLES = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:05AF 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 1
   1: 0100007F:05B0 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000        0 12346 1
  sl  local_address                         remote_address                        st tx_queue rx_queue
   0: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000
"""


def test_who_listens_is_read_from_the_kernels_tables():
    assert [port for port in (1455, 1456, 8080, 40000) if listens(TABLES, port)] == [1455, 8080]
    assert not listens("nonsense\n\n0A 0A 0A 0A 0A", 1455)


# --- acting on it ------------------------------------------------------------------------------------------------


class Session:
    def __init__(self) -> None:
        self.watchers: list[Callable[[bytes], None]] = []
        self.notes: list[str] = []
        self.state: Any = "attached"
        self.started = 1

    def print(self, text: str) -> None:
        for watcher in self.watchers:
            watcher(text.encode())


class Ports:
    def __init__(self) -> None:
        self.listening: tuple[Port, ...] = ()
        self.open: list[int] = []
        self.taken: set[int] = set()
        self.times = 0

    @asynccontextmanager
    async def forward(self, port: Port) -> Any:
        assert (port.address, port.host) == ("127.0.0.1", port.guest)
        if port.host in self.taken:
            raise HostError(f"port 127.0.0.1:{port.host} of this host is in use")
        self.times += 1
        self.open.append(port.host)
        try:
            yield
        finally:
            self.open.remove(port.host)


def started(session: Session, ports: Ports, group: Any, tables: Callable[[], Awaitable[str]]) -> None:
    Callbacks(session, ports, tables).start(group)


def inside(*numbers: int) -> Callable[[], Awaitable[str]]:
    """A guest where somebody listens on these."""

    async def tables() -> str:
        return "".join(f" 0: 0100007F:{number:04X} 00000000:0000 0A\n" for number in numbers)

    return tables


@pytest.fixture
def anyio_backend(mock_clock: Any) -> Any:
    return ("trio", {"clock": mock_clock})


@pytest.fixture
def mock_clock() -> Any:
    from trio.testing import MockClock

    return MockClock(autojump_threshold=0)


@pytest.mark.anyio
async def test_a_port_leads_inside_while_somebody_is_attached_and_they_are_told() -> None:
    session, ports = Session(), Ports()
    async with beside() as group:
        started(session, ports, group, inside(1455))
        session.print(CODED.format(1455) + "\r\n")
        await anyio.sleep(1)
        assert ports.open == [1455]
        assert session.notes == ["port 127.0.0.1:1455 of this host leads to the sandbox, for a login"]
        session.state = "detached"
        await anyio.sleep(1)
        assert ports.open == []
        session.print("and more\r\n")
        await anyio.sleep(60)
        assert ports.open == []
        group.cancel_scope.cancel()


@pytest.mark.anyio
async def test_it_ends_after_ten_minutes_for_good_whatever_is_printed_then() -> None:
    session, ports = Session(), Ports()
    async with beside() as group:
        started(session, ports, group, inside(1455))
        session.print(CODED.format(1455) + "\r\n")
        await anyio.sleep(590)
        assert ports.open == [1455]
        await anyio.sleep(20)
        for _ in range(20):
            session.print("more\r\n" + PLAIN.format(1455) + "\r\n")
            await anyio.sleep(1)
            assert ports.open == []
        session.state = "detached"
        await anyio.sleep(1)
        session.state = "attached"
        session.print(CODED.format(1455) + "\r\n")
        await anyio.sleep(5)
        assert (ports.open, ports.times, len(session.notes)) == ([], 1, 1)
        group.cancel_scope.cancel()


@pytest.mark.anyio
async def test_the_next_agent_logs_in_anew_and_nothing_is_left_of_the_one_before() -> None:
    session, ports = Session(), Ports()
    async with beside() as group:
        started(session, ports, group, inside(1455))
        session.print(CODED.format(1455) + "\r\n")
        await anyio.sleep(1)
        session.started = 2
        await anyio.sleep(10)
        session.print("welcome\r\n")
        await anyio.sleep(5)
        assert (ports.open, ports.times) == ([], 1)
        session.print(CODED.format(1455) + "\r\n")
        await anyio.sleep(1)
        assert (ports.open, ports.times) == ([1455], 2)
        group.cancel_scope.cancel()


@pytest.mark.anyio
async def test_a_bare_address_of_this_host_leads_nowhere() -> None:
    session, ports = Session(), Ports()
    async with beside() as group:
        started(session, ports, group, inside(1455))
        session.print(BARE.format(1455) + "\r\n")
        await anyio.sleep(5)
        assert (ports.times, session.notes) == (0, [])
        group.cancel_scope.cancel()


@pytest.mark.anyio
async def test_nothing_happens_with_nobody_attached_or_nobody_listening_inside() -> None:
    session, ports = Session(), Ports()
    async with beside() as group:
        started(session, ports, group, inside(1456))
        session.state = "detached"
        session.print(CODED.format(1456) + "\r\n")
        await anyio.sleep(10)
        session.state = "attached"
        Finder().feed(b"")
        session.watchers[0](b"\x1b[2J" * 4096)  # the URL is no longer on the screen
        session.print(CODED.format(1455) + "\r\n")
        await anyio.sleep(2)
        assert 1455 not in ports.open
        group.cancel_scope.cancel()


@pytest.mark.anyio
async def test_a_service_that_listens_a_moment_later_is_waited_for() -> None:
    session, ports = Session(), Ports()
    looks = 0

    async def tables() -> str:
        nonlocal looks
        looks += 1
        return await inside(1455)() if looks == 3 else ""

    async with beside() as group:
        started(session, ports, group, tables)
        session.print(CODED.format(1455) + "\r\n")
        await anyio.sleep(3)
        assert ports.open == [1455]
        group.cancel_scope.cancel()


@pytest.mark.anyio
async def test_two_at_a_time_and_what_is_on_the_screen_for_long_is_forwarded_once() -> None:
    session, ports = Session(), Ports()
    async with beside() as group:
        started(session, ports, group, inside(*range(2000, 2010)))
        for _ in range(50):
            session.print("".join(NAMED.format(port) + "\r\n" for port in range(2000, 2010)))
            await anyio.sleep(1)
            assert len(ports.open) == 2
        assert ports.times == 2
        group.cancel_scope.cancel()


@pytest.mark.anyio
async def test_a_port_in_use_is_left_alone_and_said_once() -> None:
    session, ports = Session(), Ports()
    ports.taken.add(1455)
    async with beside() as group:
        started(session, ports, group, inside(1455))
        for _ in range(30):
            session.print(CODED.format(1455) + "\r\n")
            await anyio.sleep(1)
        assert (ports.times, len(session.notes)) == (0, 1)
        assert "in use" in session.notes[0]
        group.cancel_scope.cancel()


@pytest.mark.anyio
async def test_a_port_that_leads_inside_anyway_needs_nothing() -> None:
    session, ports = Session(), Ports()
    ports.listening = (Port(1455, 1455),)
    async with beside() as group:
        started(session, ports, group, inside(1455))
        session.print(CODED.format(1455) + "\r\n")
        await anyio.sleep(5)
        assert (ports.times, session.notes) == (0, [])
        group.cancel_scope.cancel()


@pytest.mark.anyio
async def test_a_guest_that_does_not_answer_ends_nothing() -> None:
    session, ports = Session(), Ports()

    async def tables() -> str:
        raise GuestError("the guest does not answer")

    async with beside() as group:
        started(session, ports, group, tables)
        session.print(CODED.format(1455) + "\r\n")
        await anyio.sleep(1)
        assert ports.open == []
        assert len(session.notes) == 1
        group.cancel_scope.cancel()
