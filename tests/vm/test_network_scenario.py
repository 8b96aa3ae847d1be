"""What a guest with every right inside can reach: the sockets of its jail, and nothing else; who else is in there."""

import asyncio
import os
import select
import socket
import struct
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import pytest

from sandboxfile.errors import MachineError

pytestmark = [pytest.mark.vm, pytest.mark.anyio]

ELSEWHERE = "198.51.100.7"
ONLINE = """
for interface in /sys/class/net/*; do interface=${interface##*/}; [ $interface = lo ] || break; done
ip link set lo up; ifconfig $interface 10.0.2.15 netmask 255.255.255.0 up; route add default gw 10.0.2.2
"""


@pytest.fixture(scope="module")
async def online(guest):
    assert await guest.run(ONLINE) == ""
    return guest


@asynccontextmanager
async def greeting(listener):
    """Accept on a socket of the jail, tell each who it dialled, and note it."""
    dialled = []

    async def serve(reader, writer):
        address = writer.get_extra_info("sockname")
        dialled.append(address)
        writer.write(f"you dialled {address[0]}:{address[1]}\n".encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, sock=listener.dup())
    async with server:
        yield dialled


def dial(address, port):
    return f"nc -w 5 {address} {port} </dev/null; echo code $?"


REFUSED = "code 1"


async def test_the_proxy_is_reached_at_the_gateways_address_and_at_no_other(online):
    async with greeting(online.machine.network.sockets["proxy", 3128]) as dialled:
        assert await online.run(dial("10.0.2.2", 3128)) == "you dialled 127.0.0.1:3128\ncode 0"
        assert (await online.run(dial(ELSEWHERE, 3128))).endswith(REFUSED)
    assert dialled == [("127.0.0.1", 3128)]


async def test_an_address_that_is_dialled_arrives_as_itself(online):
    for port in (80, 443, 8443):
        async with greeting(online.machine.network.sockets["transparent", port]):
            for address in (ELSEWHERE, "169.254.169.254", "198.18.0.1"):
                assert await online.run(dial(address, port)) == f"you dialled {address}:{port}\ncode 0"


async def test_another_port_is_refused_at_once_until_it_is_opened(online):
    started = anyio.current_time()
    assert (await online.run(dial(ELSEWHERE, 9999))).endswith(REFUSED)
    assert anyio.current_time() - started < 3
    opened = await online.machine.network.listen(9999)
    assert await online.machine.network.listen(9999) is opened
    assert online.machine.network.sockets["transparent", 9999] is opened
    async with greeting(opened):
        assert await online.run(dial(ELSEWHERE, 9999)) == f"you dialled {ELSEWHERE}:9999\ncode 0"


async def test_a_port_below_1024_can_be_opened_and_ports_that_are_none_or_taken_cannot(online):
    network = online.machine.network
    async with greeting(await network.listen(22)):
        assert await online.run(dial(ELSEWHERE, 22)) == f"you dialled {ELSEWHERE}:22\ncode 0"
    for port in (0, -1, 65536, 3128):
        with pytest.raises(MachineError, match="cannot be made transparent"):
            await network.listen(port)


async def test_many_ports_are_opened_at_once_each_with_its_own_socket(online):
    opened = {}

    async def open_one(port):
        opened[port] = await online.machine.network.listen(port)

    async with anyio.create_task_group() as group:
        for port in range(5000, 5020):
            group.start_soon(open_one, port)
    assert {port: made.getsockname() for port, made in opened.items()} == {port: ("0.0.0.0", port) for port in opened}


async def test_the_sockets_are_as_asyncio_wants_them(online):
    for (role, _), made in online.machine.network.sockets.items():
        assert made.proto == (socket.IPPROTO_UDP if role == "names" else socket.IPPROTO_TCP)
        assert not made.getblocking()
        assert not made.get_inheritable()


def question(name):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return labels + b"\0" + struct.pack(">HH", 1, 1)


def answer(query):
    """203.0.113.9, whatever was asked."""
    end = 12 + query[12:].index(0) + 5
    header = query[:2] + struct.pack(">HHHHH", 0x8180, 1, 1, 0, 0)
    return header + query[12:end] + struct.pack(">HHHIH", 0xC00C, 1, 1, 60, 4) + bytes([203, 0, 113, 9])


async def answer_names(names, count, asked):
    for _ in range(count):
        await anyio.wait_readable(names)
        query, ancillary, _, sender = names.recvmsg(2048, socket.CMSG_SPACE(12))
        _, _, meant = struct.unpack("=I4s4s", ancillary[0][2])
        asked.append(socket.inet_ntoa(meant))
        # From the address that was asked: an answer from another is no answer.
        info = struct.pack("=I4s4s", 0, meant, meant)
        names.sendmsg([answer(query)], [(socket.IPPROTO_IP, socket.IP_PKTINFO, info)], 0, sender)


async def test_a_name_is_asked_of_us_whichever_server_the_guest_asks(online):
    names, asked = online.machine.network.sockets["names", 53], []
    async with anyio.create_task_group() as group:
        group.start_soon(answer_names, names, 2, asked)
        for server in ("10.0.2.2", "8.8.8.8"):
            with anyio.fail_after(30):
                printed = await online.run(f"nslookup -type=a api.example.com {server}")
            assert "Address: 203.0.113.9" in printed, printed
    assert asked == ["127.0.0.1", "8.8.8.8"]


def host_addresses():
    """Loopback, and the address by which this host would reach others, if it has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.7", 9))
            return {"127.0.0.1", probe.getsockname()[0]}
        except OSError:
            return {"127.0.0.1"}


@contextmanager
def host_listeners():
    """Sockets of this host on all its addresses, UDP and TCP, both IP versions, and one port for all of them."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as tcp:
        port = tcp.getsockname()[1]
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp:
            udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            udp.bind(("::", port))
            tcp.setblocking(False)
            udp.setblocking(False)
            yield port, tcp, udp


async def test_nothing_of_the_host_is_reached_by_tcp_udp_or_ipv6(online):
    with host_listeners() as (port, tcp, udp):
        for address in {*host_addresses(), "10.0.2.2", "10.0.2.3"} - {"127.0.0.1"}:
            assert (await online.run(dial(address, port))).endswith(REFUSED), address
            await online.run(f"echo hello | nc -u -w 1 {address} {port}")
        await online.run(
            "ip -6 address add fec0::15/64 dev eth0 2>/dev/null; ip -6 route add default via fec0::2 2>/dev/null;"
            f"echo hello | nc -w 2 fec0::2 {port}; echo hello | nc -w 2 2001:db8::1 {port}"
        )
        with pytest.raises(BlockingIOError):
            tcp.accept()
        with pytest.raises(BlockingIOError):
            udp.recv(100)


async def test_an_echo_gets_no_answer(online):
    assert "100% packet loss" in await online.run(f"ping -c 2 -W 1 {ELSEWHERE}")


def status(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.split() for name, _, value in (line.partition(":") for line in lines)}


async def test_the_opener_of_ports_may_nothing_sees_nothing_and_holds_nothing(online):
    pid = online.machine.network.pid
    found = status(pid)
    assert {found[f"Cap{kind}"][0] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert (found["NoNewPrivs"], found["Seccomp"]) == (["1"], ["2"])
    assert os.getuid() != 0 or "0" not in found["Uid"] + found["Gid"]
    assert found["PPid"] == [str(online.machine.monitor_pid)]
    assert list(Path(f"/proc/{pid}/root").iterdir()) == []
    mounts = [line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
    assert [(fields[4], fields[5].split(",")[0]) for fields in mounts] == [("/", "ro")]
    held = {path.name: str(path.readlink()).partition(":")[0] for path in Path(f"/proc/{pid}/fd").iterdir()}
    assert held == {"0": "socket"}


async def test_the_opener_is_in_the_network_of_qemu_and_not_in_ours(online):
    def namespace(pid, kind):
        return Path(f"/proc/{pid}/ns/{kind}").readlink()

    opener, qemu = online.machine.network.pid, online.machine.pid
    assert namespace(opener, "net") == namespace(qemu, "net") != namespace("self", "net")
    for kind in ("ipc", "mnt"):
        assert namespace(opener, kind) != namespace("self", kind), kind


async def test_qemu_itself_holds_no_listening_socket(online):
    sockets = {str(path.readlink()) for path in Path(f"/proc/{online.machine.pid}/fd").iterdir()}
    listening = [line.split() for line in Path(f"/proc/{online.machine.pid}/net/tcp").read_text().splitlines()[1:]]
    inodes = {f"socket:[{fields[9]}]" for fields in listening if fields[3] == "0A"}
    assert len(inodes) >= 4
    assert not inodes & sockets


async def test_with_the_machine_its_network_ends(host):
    async with host.boot() as guest:
        network = guest.machine.network
        await network.listen(7777)
        assert alive(network.pid)
    assert not alive(network.pid)
    assert all(made.fileno() == -1 for made in network.sockets.values())
    with pytest.raises(MachineError):
        await network.listen(7778)


async def test_when_qemu_dies_the_opener_dies_by_itself_and_asking_it_fails(host):
    async with host.boot() as guest:
        opener = os.pidfd_open(guest.machine.network.pid)
        await guest.machine.kill()
        assert select.select([opener], [], [], 5)[0]
        os.close(opener)
        with pytest.raises(MachineError, match=r"does not answer|it died"):
            await guest.machine.network.listen(7777)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
