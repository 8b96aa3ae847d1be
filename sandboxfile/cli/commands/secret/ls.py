"""List secrets: those that are stored, those of the sandbox file here with their sources, and what else was approved.

Values are never shown.
"""

import argparse
import os
from collections.abc import Mapping, Sequence

from sandboxfile.cli import exits
from sandboxfile.cli.project import find_file, find_upward, load_file, this_layout
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.json import write_json
from sandboxfile.cli.views.secrets import Host, Stored, Used, listing, listing_object
from sandboxfile.host.approvals import Approval, read_approvals, source_key
from sandboxfile.model.credential import Credential, SecretSource
from sandboxfile.model.desired import DesiredSandbox
from sandboxfile.secrets.store import Store

Approved = frozenset[Approval]


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=("human", "json"), default="human")


def run(args: argparse.Namespace, console: Console) -> int:
    layout = this_layout()
    approved = read_approvals(layout)
    used = used_secrets(_sandboxes(args, console), approved)
    stored = stored_secrets(Store(layout, os.environ).places(), used, approved)
    shown = {source_key(each.source) for each in used} | {_stored_key(each.name) for each in stored}
    rest = sorted(item for item in approved if item.source_key not in shown)
    if args.format == "json":
        write_json(listing_object(stored, used, sorted(approved)), console)
    elif text := listing(stored, used, rest):
        console.print(text)
    else:
        console.say("there are no secrets; `sbx secret set NAME` keeps one")
    return exits.OK


def _sandboxes(args: argparse.Namespace, console: Console) -> Sequence[DesiredSandbox]:
    """Those of the file here; none without one, or with a wrong one."""
    if args.file is None and find_upward() is None:
        return ()
    path = find_file(args.file)
    desired = load_file(args, frozen=None).desired
    if desired is None:
        console.warn(f"{path} has errors (sbx validate): its secrets are not listed")
        return ()
    return desired.sandboxes


def used_secrets(specs: Sequence[DesiredSandbox], approved: Approved) -> list[Used]:
    """The secrets of sandboxes, each once, by name."""
    found: dict[tuple[str, str, str], tuple[Credential, list[str]]] = {}
    for spec in specs:
        for credential in spec.policy.credentials:
            key = (credential.name, credential.origin, source_key(credential.source))
            found.setdefault(key, (credential, []))[1].append(spec.id.name)
    return [
        Used(credential.name, credential.origin, credential.source, tuple(names), _hosts(credential, approved))
        for _, (credential, names) in sorted(found.items())
    ]


def _hosts(credential: Credential, approved: Approved) -> tuple[Host, ...]:
    asked = [Approval(source_key(credential.source), host, port) for host, port in credential.bound]
    return tuple(Host(item.place, credential.known or item in approved, credential.known) for item in asked)


def stored_secrets(places: Mapping[str, str], used: Sequence[Used], approved: Approved) -> list[Stored]:
    """What is stored, with the secrets of the file that it is the value of."""
    found = []
    for name, place in places.items():
        users = [each for each in used if each.source == SecretSource("store", name)]
        said = sorted(item.place for item in approved if item.source_key == _stored_key(name))
        known = [host for each in users for host in each.hosts if host.known]
        titles = tuple(f"{each.origin} ({', '.join(each.sandboxes)})" for each in users)
        found.append(
            Stored(name, place, titles, tuple(dict.fromkeys((*known, *(Host(where, True) for where in said)))))
        )
    return found


def _stored_key(name: str) -> str:
    return source_key(SecretSource("store", name))
