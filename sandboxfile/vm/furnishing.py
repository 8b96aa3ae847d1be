"""Furnishes the empty network namespace of a jail: the loopback device, one route, and listening sockets.

Called by `launcher.py` only, while it still may; standard library only. Every IPv4 address is this machine's own here
(AnyIP), so whatever address the guest dials, the connection arrives at our socket on that port, or is refused; and
`getsockname()` of what was accepted is the address that the guest meant. Nothing leads out of the namespace.
"""

import array
import errno
import fcntl
import json
import os
import socket
import struct
from collections.abc import Iterable, Sequence
from typing import Any

BACKLOG = 256  # connections that nobody has accepted yet, for each port
LOOPBACK = b"lo"
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
RTM_NEWROUTE, NLMSG_ERROR = 24, 2
NLM_F_REQUEST, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL = 0x1, 0x4, 0x400, 0x200
RT_TABLE_LOCAL, RTPROT_BOOT, RT_SCOPE_HOST, RTN_LOCAL, RTA_OIF = 255, 3, 254, 2, 4
# So that `opener.py`, which may nothing, can open any port. Ours alone: the setting belongs to the namespace.
_FIRST_UNPRIVILEGED_PORT = "/proc/sys/net/ipv4/ip_unprivileged_port_start"


def furnish(places: Iterable[Sequence[Any]]) -> list[socket.socket]:
    """Make the namespace that we are in ready, and the sockets for `[kind, address, port]`, in that order."""
    raise_loopback()
    own_every_address()
    with open(_FIRST_UNPRIVILEGED_PORT, "w") as file:  # noqa: PTH123 - pathlib costs more than all of this
        file.write("0")
    return [names(address, port) if kind == "udp" else listener(address, port) for kind, address, port in places]


def raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", LOOPBACK, IFF_UP))


def own_every_address() -> None:
    """`ip route add local 0.0.0.0/0 dev lo`."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
        index = socket.if_nametoindex(LOOPBACK.decode())
        route = (socket.AF_INET, 0, 0, 0, RT_TABLE_LOCAL, RTPROT_BOOT, RT_SCOPE_HOST, RTN_LOCAL, 0)
        body = struct.pack("=8BI", *route) + struct.pack("=HHi", 8, RTA_OIF, index)
        flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL
        netlink.send(struct.pack("=IHHII", 16 + len(body), RTM_NEWROUTE, flags, 1, 0) + body)
        kind, failure = struct.unpack_from("=4xH10xi", netlink.recv(4096))
        if kind != NLMSG_ERROR or failure:
            raise OSError(-failure or errno.EPROTO, f"local route: {os.strerror(-failure or errno.EPROTO)}")


def listener(address: str, port: int) -> socket.socket:
    """A listening TCP socket. The protocol is named, because asyncio sets TCP_NODELAY only then: 8 times faster."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def names(address: str, port: int) -> socket.socket:
    """A UDP socket that tells with each datagram which address it was sent to."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP)
    made.setsockopt(socket.IPPROTO_IP, socket.IP_PKTINFO, 1)
    made.bind((address, port))
    return made


def reply(control: socket.socket, message: dict[str, Any], sockets: Sequence[socket.socket] = ()) -> None:
    """Tell the supervisor, and give it the sockets; ours are still to be closed."""
    numbers = array.array("i", [each.fileno() for each in sockets])
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)] if sockets else []
    control.sendmsg([json.dumps(message).encode()], ancillary)
