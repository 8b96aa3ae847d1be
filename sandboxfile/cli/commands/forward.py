"""Reach ports of a sandbox on this host until Ctrl-C. Those of the sandbox file (`ports`) are there all the time."""

import argparse
import ipaddress
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from sandboxfile.cli.commands.exec import running
from sandboxfile.cli.project import find_sandboxes
from sandboxfile.cli.running import run_async
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.waking import wake
from sandboxfile.model.desired import Port

_FORM = "write PORT, HOST:PORT or ADDRESS:HOST:PORT, an IPv6 address in brackets"


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="a sandbox of this project, or PROJECT/NAME")
    parser.add_argument(
        "ports",
        metavar="[[ADDRESS:]HOST:]PORT",
        nargs="+",
        type=parse_port,
        help="a port inside; HOST: the one on this host, default: the same; ADDRESS: of this host, default: 127.0.0.1",
    )


def run(args: argparse.Namespace, console: Console) -> int:
    [id] = find_sandboxes([args.name], args)
    wake(id, args, console)
    return run_async(partial(_forward, running(id), id.name, args.ports, console))


async def _forward(control: Path, name: str, ports: Sequence[Port], console: Console) -> int:
    """Listen on all of them until cancelled. Raises why one cannot be had, or what ended it."""
    from sandboxfile.control.client import connect
    from sandboxfile.control.messages import Forward
    from sandboxfile.host.tasks import together

    async def hold(port: Port) -> None:
        async with connect(control) as connection:
            await connection.send(Forward(port))
            await connection.receive()
            where = port.text.rpartition(":")[0]
            console.print(f"{where} -> {name}:{port.guest}")
            console.out.flush()
            await connection.receive()  # nothing more is said until one of us hangs up

    await together(*(partial(hold, port) for port in ports))
    return 0


def parse_port(word: str) -> Port:
    """One argument as a port. Raises ArgumentTypeError."""
    rest, _, guest = word.rpartition(":")
    address, colon, host = rest.rpartition(":")
    bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    try:
        if colon:
            version = ipaddress.ip_address(bare).version
            if (bare != address) != (version == 6):
                raise ValueError
        return Port(_number(host or guest), _number(guest), str(ipaddress.ip_address(bare)) if colon else "127.0.0.1")
    except ValueError:
        raise argparse.ArgumentTypeError(f"{word!r} is no port: {_FORM}") from None


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= 65535):
        raise ValueError
    return int(text)
