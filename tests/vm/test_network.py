"""The jail's network from outside: what it starts with, and the process that opens more, here without a jail."""

import socket
import subprocess
import sys
from contextlib import asynccontextmanager

import anyio
import pytest

from sandboxfile.control import egress
from sandboxfile.errors import MachineError
from sandboxfile.vm import network
from sandboxfile.vm.filters import opener_filter
from sandboxfile.vm.network import JailNetwork, bindings, places

pytestmark = pytest.mark.anyio

OPENER = """
import socket, sys
from sandboxfile.vm import opener, rights
rights.prctl(rights.PR_SET_NO_NEW_PRIVS, 1)
control = socket.socket(fileno=int(sys.argv[1]))
rights.load_filter(bytes.fromhex(sys.argv[2]))
opener.serve(control)
import os
os._exit(0)
"""
SILENT = "import time; time.sleep(60)"


@pytest.fixture
def anyio_backend():
    return "asyncio"


@asynccontextmanager
async def jail(program=OPENER):
    """A network whose opener is a plain child of ours, under the real filter."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-c", program, str(theirs.fileno()), opener_filter().hex()]
    with theirs:
        child = await anyio.open_process(
            command, stdin=subprocess.DEVNULL, stdout=None, stderr=None, pass_fds=[theirs.fileno()]
        )
    made = JailNetwork({}, ours, child.pid)
    try:
        yield made, child
    finally:
        await made.close()
        await child.wait()


def free_port():
    with socket.create_server(("0.0.0.0", 0)) as probe:
        return probe.getsockname()[1]


def test_roles_and_ports_are_those_of_the_gateways_protocol():
    assert network.Role == egress.Role
    assert network.PROXY_PORT == egress.PROXY_PORT


def test_a_jail_starts_with_proxy_names_and_the_ports_asked_for_each_once():
    web = (("transparent", 80), ("transparent", 443))
    assert places(()) == (("proxy", 3128), *web, ("names", 53))
    assert places((8443, 443, 22, 3128)) == (
        *(("proxy", 3128), ("transparent", 22), *web),
        *(("transparent", 8443), ("names", 53)),
    )


@pytest.mark.parametrize("ports", [(0,), (-1,), (65536,), range(1000, 1200)])
def test_what_cannot_be_the_ports_of_a_jail_is_refused(ports):
    with pytest.raises(ValueError, match="cannot be the ports"):
        places(ports)


def test_only_the_proxy_is_bound_to_one_address():
    assert bindings(places(())) == [
        *(("tcp", "127.0.0.1", 3128), ("tcp", "0.0.0.0", 80), ("tcp", "0.0.0.0", 443)),
        ("udp", "0.0.0.0", 53),
    ]


async def test_a_port_is_opened_once_however_often_and_concurrently_it_is_asked_for():
    port, found = free_port(), []
    async with jail() as (opened, _):

        async def ask():
            found.append(await opened.listen(port))

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(ask)
        assert len(set(map(id, found))) == 1
        assert found[0].getsockname() == ("0.0.0.0", port)
        assert found[0].proto == socket.IPPROTO_TCP
        with socket.create_connection(("127.0.0.1", port)):
            await anyio.wait_readable(found[0])
            found[0].accept()[0].close()
    assert found[0].fileno() == -1
    with socket.create_server(("0.0.0.0", port)):
        pass  # nobody else holds it


async def test_a_port_that_is_taken_is_told_and_the_next_one_works():
    async with jail() as (opened, _):
        with (
            socket.create_server(("0.0.0.0", 0)) as taken,
            pytest.raises(MachineError, match="Address already in use"),
        ):
            await opened.listen(taken.getsockname()[1])
        port = free_port()
        assert (await opened.listen(port)).getsockname()[1] == port


@pytest.mark.parametrize("port", [0, -1, 65536, 3128])
async def test_what_is_no_port_is_not_asked_for(port):
    async with jail() as (opened, _):
        with pytest.raises(MachineError, match="cannot be made transparent"):
            await opened.listen(port)
        assert opened.sockets == {}


async def test_an_opener_that_died_is_an_error_each_time():
    async with jail() as (opened, child):
        child.kill()
        await child.wait()
        for _ in range(2):
            with pytest.raises(MachineError):
                await opened.listen(9999)


async def test_an_opener_that_is_silent_is_given_up_and_never_asked_again(monkeypatch):
    monkeypatch.setattr(network, "_ANSWER_TIMEOUT", 0.01)
    async with jail(SILENT) as (opened, _):
        with pytest.raises(MachineError, match="does not answer"):
            await opened.listen(9999)
        monkeypatch.setattr(network, "_ANSWER_TIMEOUT", 60)
        with pytest.raises(MachineError, match="does not answer"):
            await opened.listen(9999)


async def test_the_number_of_ports_is_bounded(monkeypatch):
    monkeypatch.setattr(network, "MOST_PORTS", 1)
    async with jail() as (opened, _):
        for _ in range(2):
            await opened.listen(free_port())
        with pytest.raises(MachineError, match="no more than"):
            await opened.listen(free_port())


async def test_whoever_stops_waiting_leaves_no_answer_for_the_next():
    async with jail() as (opened, _):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await opened.listen(free_port())
        port = free_port()
        assert (await opened.listen(port)).getsockname()[1] == port
        with anyio.move_on_after(0):
            await opened.listen(free_port())
        assert (await opened.listen(port)).getsockname()[1] == port


async def test_closing_ends_an_opener_that_does_not_listen_and_can_be_repeated():
    async with jail(SILENT) as (opened, child):
        with anyio.fail_after(5):
            await opened.close()
            await opened.close()
            assert await child.wait() == -9
