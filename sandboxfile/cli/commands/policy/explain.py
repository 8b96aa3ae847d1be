"""Say whether a sandbox may reach something, and the one reason for it: the same as in its log.

What is asked about is a URL, HOST:PORT, or an address. Names are judged as they are, without their addresses; with
--resolve this host looks them up, and the addresses are judged too. Exit code 0: allowed, 2: blocked.
"""

import argparse
import socket
from dataclasses import replace
from ipaddress import ip_address

from sandboxfile.cli import exits
from sandboxfile.cli.policies import held, today
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.json import write_json
from sandboxfile.cli.views.policy import decision_object
from sandboxfile.cli.views.text import harmless
from sandboxfile.errors import SandboxfileError
from sandboxfile.host.own_addresses import guarded
from sandboxfile.model.policy import Decision, Request
from sandboxfile.policy.checks import parse_target
from sandboxfile.policy.compiled import compile_policy
from sandboxfile.policy.patterns import Address, PatternProblem, canonical_host, literal


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--method", metavar="METHOD", help="the HTTP method, e.g. GET; default: any")
    parser.add_argument("--resolve", action="store_true", help="look the name up on this host, and judge its addresses")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("name", metavar="NAME", help="a sandbox of this project, or PROJECT/NAME")
    parser.add_argument(
        "target", metavar="TARGET", help="https://example.com/x, example.com:443, tcp://HOST:PORT, 10.0.0.1"
    )


def run(args: argparse.Namespace, console: Console) -> int:
    request = parse_target(args.target)
    if isinstance(request, PatternProblem):
        raise SandboxfileError(request.detail, hint=request.hint)
    if args.method:
        request = replace(request, method=args.method.upper())
    found = held(args.name, args, console)
    addresses = resolve(request) if args.resolve else None
    decision = guarded(compile_policy(found.policy).decide(request, addresses, today()), found.policy)
    name_only = addresses is None and _is_name(request)
    if args.format == "json":
        stage = "name" if name_only else "address"
        write_json(
            {"sandbox": str(found.id), "source": found.source, "stage": stage, **decision_object(decision)}, console
        )
    else:
        console.say(harmless(found.words))
        if name_only and decision.allowed:
            console.say("judged by its name; --resolve judges its addresses too")
        console.print(told(decision))
    return exits.OK if decision.allowed else exits.BLOCKED


def told(decision: Decision) -> str:
    """The decision in a few lines."""
    lines = [f"{'allowed' if decision.allowed else 'blocked'}: {decision.reason}"]
    lines.append(f"  rule   {decision.rule}")
    lines.append(f"  layer  {decision.layer}" + (f" ({decision.place})" if decision.place else ""))
    if decision.addresses:
        lines.append(f"  at     {', '.join(decision.addresses)}")
    if decision.allowed:
        way = "looked into (TLS is intercepted)" if decision.inspect else "passed on without being looked into"
        lines.append(f"  how    {way}")
    return harmless("\n".join(lines))


def _is_name(request: Request) -> bool:
    host = canonical_host(request.host)
    return host is not None and literal(host) is None


def resolve(request: Request) -> list[Address]:
    """The addresses of a name as this host knows them. Raises SandboxfileError when there are none."""
    host = canonical_host(request.host)
    if host is None:
        return []
    if (address := literal(host)) is not None:
        return [address]
    try:
        found = socket.getaddrinfo(host, request.port, type=socket.SOCK_STREAM)
    except OSError as exc:
        raise SandboxfileError(f"{host} does not resolve on this host: {exc.strerror}") from exc
    return list(dict.fromkeys(ip_address(str(each[4][0]).partition("%")[0]) for each in found))
