"""Propose the smallest rules for what a sandbox was kept from, as a patch of its sandbox file to review.

Under `mode: allow` the rules are those for what it used, and the patch turns the mode to `deny`. Only exact hosts are
proposed. Nothing is changed, unless --apply is given; `sbx up` then applies the file.
"""

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime

from sandboxfile.cli import editing, exits, traffic
from sandboxfile.cli.applying import confirm
from sandboxfile.cli.commands.network.log import add_since, open_logs
from sandboxfile.cli.project import find_sandboxes, this_layout
from sandboxfile.cli.traffic import Entry
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.text import harmless
from sandboxfile.host.statedir import read_record
from sandboxfile.language.edit import Item
from sandboxfile.model.policy import Mode, Policy, Protocol, Request, Rule
from sandboxfile.policy.implied import settled
from sandboxfile.policy.suggest import Suggestion, suggest

_GUESSED_PORT = 443  # of names that were only looked up


def register(parser: argparse.ArgumentParser) -> None:
    add_since(parser)
    parser.add_argument("--apply", action="store_true", help="write it into the file, after showing it")
    parser.add_argument("-y", "--yes", action="store_true", help="with --apply: do not ask")
    parser.add_argument("name", metavar="NAME", help="a sandbox of this project, or PROJECT/NAME")


def run(args: argparse.Namespace, console: Console) -> int:
    since = traffic.parse_since(args.since, datetime.now(UTC))
    [id] = find_sandboxes([args.name], args)
    applied = read_record(this_layout().sandbox(id))
    with ExitStack() as opened:
        entries = traffic.chosen(traffic.read(open_logs([id], opened), whole=True), since=since)
    learning = applied.spec.policy.own.mode == "allow"
    found = suggest(applied.spec.policy, requests(entries, used=learning))
    if not found:
        console.say(
            f"nothing to suggest: {id} was {'seen using' if learning else 'kept from'} nothing that a rule is for"
        )
        return exits.OK
    for each in found:
        console.say(harmless(f"{each.pattern}: {each.reason}"))
    mode: Mode | None = "deny" if learning else None
    additions = editing.Additions(allow=[item(each) for each in found], mode=mode)
    path = editing.file_of(id, applied.source, args.file)
    proposal = editing.propose(
        path, id, lambda _: additions, lambda old, new: editing.same_meaning(new, with_rules(old, found, mode)), console
    )
    if proposal.after == proposal.before:
        console.say(f"nothing to suggest: {path} has these rules; `sbx up` applies them")
        return exits.OK
    diff = proposal.diff()
    console.print(harmless(diff) if console.out.isatty() else diff)
    if args.apply:
        console.out.flush()
        if not args.yes:
            confirm(console)
        editing.write(proposal)
        console.say(harmless(f"{path} is changed; `sbx up` applies it"))
    return exits.OK


def requests(entries: Sequence[Entry], *, used: bool) -> list[Request]:
    """What was blocked, or with `used` what was allowed, as far as it can be understood.

    A name that was only looked up counts as wanted by HTTPS, unless it was asked for otherwise too.
    """
    relevant = [entry for entry in entries if entry.blocked != used]
    known = {entry.get("host") for entry in relevant if entry.get("protocol") != "dns"}
    found = []
    for entry in relevant:
        protocol, host = entry.get("protocol"), entry.get("host")
        if protocol == "dns" and host not in known:
            found.append(Request(host, _GUESSED_PORT))
        elif kind := _PROTOCOLS.get(protocol):
            method = entry.get("method")
            method = "" if method == "CONNECT" else method
            found.append(Request(host, int(entry.number("port")), kind, method or None, entry.get("path") or None))
    return found


_PROTOCOLS: dict[str, Protocol] = {"http": "http", "https": "https", "tcp": "tcp"}


def item(suggestion: Suggestion) -> Item:
    """The rule as it is written into the file."""
    if suggestion.protocol == "http" and not suggestion.methods:
        return suggestion.pattern
    fields: dict[str, str | int | tuple[str, ...]] = {"host": suggestion.host}
    if suggestion.port is not None:
        fields["port"] = suggestion.port
    if suggestion.protocol == "tcp":
        fields["protocol"] = "tcp"
    if suggestion.methods:
        fields["methods"] = suggestion.methods
    return fields


def with_rules(policy: Policy, found: Sequence[Suggestion], mode: Mode | None) -> Policy:
    """What the file's policy is to mean with the suggestions."""
    own = policy.own
    rules = tuple(Rule(each.pattern, each.protocol, each.methods) for each in found)
    changed = replace(own, allow=own.allow + rules, mode=mode or own.mode)
    return replace(policy, layers=(*policy.layers[:-1], settled(changed)))
