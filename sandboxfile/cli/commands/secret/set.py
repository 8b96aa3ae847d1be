"""Keep a secret: in the desktop's keyring where there is one, else in a file that only its user can read.

The value is asked for without being shown; where standard input is no terminal it is read from there. A sandbox gets
it by `secrets: {NAME: {store: NAME}}`; under the name of a service (`anthropic`) every agent of that service gets it.
"""

import argparse
import getpass
import os
import warnings
from pathlib import Path

from sandboxfile.agents import SERVICES, find_service
from sandboxfile.cli import exits
from sandboxfile.cli.approving import parse_host
from sandboxfile.cli.project import this_layout
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.secrets import place_text
from sandboxfile.errors import SandboxfileError
from sandboxfile.host.approvals import Approval, approve, source_key
from sandboxfile.model.credential import SecretSource
from sandboxfile.secrets.sources import read_secret_file
from sandboxfile.secrets.store import Store, check_name
from sandboxfile.secrets.values import LIMIT, usable


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host",
        metavar="HOST[:PORT]",
        action="append",
        default=[],
        help="this host may get it, over TLS; repeatable (default port: 443)",
    )
    parser.add_argument(
        "--from", dest="origin", metavar="PATH", help="take the value from this file; -: standard input"
    )
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)  # taken, so that no message repeats them


def run(args: argparse.Namespace, console: Console) -> int:
    if args.words:
        said = "nothing was kept: a value is no word of a command, where others see it and the shell remembers it"
        raise SandboxfileError(said, hint="give the name alone: the value is asked for, or read from standard input")
    check_name(args.name)
    hosts = [parse_host(text) for text in args.host]
    value = _value(args, console)
    layout = this_layout()
    place, reason = Store(layout, os.environ).set(args.name, value)
    key = source_key(SecretSource("store", args.name))
    items = [Approval(key, host, port or 443) for host, port in hosts]
    if items:
        approve(layout, items)
    console.say(f"{args.name} is kept in {place_text(place)}" + (f": {reason}" if reason else ""))
    for item in items:
        console.say(f"{item.place} may get it")
    if args.name in SERVICES:
        service = find_service(args.name)
        console.say(f"agents get it for {service.title} where {' and '.join(service.variables)} are not set")
    return exits.OK


def _value(args: argparse.Namespace, console: Console) -> str:
    if args.origin not in (None, "-"):
        return read_secret_file(Path(args.origin))
    if args.origin is None and console.interactive:
        return usable(_prompted(args.name), f"the secret {args.name}")
    # A newline, and one byte too many.
    return usable(console.source.buffer.read(LIMIT + 3), f"the secret {args.name} on standard input")


def _prompted(name: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)  # it would be shown
        try:
            return getpass.getpass(f"{name} (not shown): ")
        except (EOFError, getpass.GetPassWarning):
            raise SandboxfileError("nothing was kept: no value was given", hint="--from PATH reads a file") from None
