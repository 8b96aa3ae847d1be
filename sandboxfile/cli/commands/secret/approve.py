"""Let a secret of the sandbox file go to the hosts that the file binds it to: to all of them, or to one.

It counts for the source (the variable, file, command or stored secret) and the host, in every project, until it is
taken back with --revoke: sandboxes that run then go on with it until they are stopped. What is not approved is asked
for by `sbx up`; `--yes` does not answer that. Where nobody is asked, files that an agent could have changed approve
nothing.
"""

import argparse
from collections.abc import Collection

from sandboxfile.cli import exits
from sandboxfile.cli.applying import confirm
from sandboxfile.cli.approving import Wanted, parse_host, question, wanted
from sandboxfile.cli.project import find_upward, load_project, this_layout
from sandboxfile.cli.trusting import settle_approval
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.secrets import source_text
from sandboxfile.cli.views.text import did_you_mean
from sandboxfile.errors import NotFoundError
from sandboxfile.host.approvals import Approval, approve, read_approvals, revoke
from sandboxfile.model.desired import DesiredState


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--revoke", action="store_true", help="take it back")
    parser.add_argument(
        "name", metavar="NAME", help='a secret of the sandbox file; with --revoke also a source ("env TOKEN")'
    )
    parser.add_argument("host", metavar="HOST[:PORT]", nargs="?", help="one of its hosts; default: all of them")


def run(args: argparse.Namespace, console: Console) -> int:
    layout = this_layout()
    if args.revoke and (items := _of_source(args.name, read_approvals(layout))):
        chosen = _at(items, args)
        revoke(layout, chosen)
        for item in chosen:
            console.say(f"{item.source_key}: {item.place} may not get it any more")
        return exits.OK
    desired = load_project(args, console)
    known = _of_file(desired, args)
    items = list(dict.fromkeys(each.approval for each in known))
    if not items:
        console.say(f"nothing to approve: {args.name} goes where it belongs by what comes with sandboxfile")
        return exits.OK
    chosen = _at(items, args)
    if not args.revoke:
        settle_approval(args.name, desired.files, console)
        console.say(question([each for each in known if each.approval in chosen]))
        if console.interactive:
            confirm(console, "Approve this?")
    (revoke if args.revoke else approve)(layout, chosen)
    verb = "may not get it any more" if args.revoke else "may get it"
    for each in {one.approval: one for one in known if one.approval in chosen}.values():
        console.say(f"{args.name}, {source_text(each.source)}: {each.approval.place} {verb}")
    return exits.OK


def _of_source(name: str, approved: Collection[Approval]) -> list[Approval]:
    """What was approved of a source that is named as in `sbx secret ls`, whether a file uses it or not."""
    return sorted(item for item in approved if item.source_key == name)


def _of_file(desired: DesiredState, args: argparse.Namespace) -> list[Wanted]:
    """What the file binds the secret to. Raises NotFoundError when it has no such secret."""
    named = sorted({each.name for spec in desired.sandboxes for each in spec.policy.credentials})
    if args.name not in named:
        known = f"those of sandboxes are {', '.join(named)}" if named else "no sandbox of it has one"
        where = args.file or find_upward()
        hint = did_you_mean(args.name, named) or known
        raise NotFoundError(f"no sandbox of {where} has a secret {args.name}", hint=hint)
    return [each for each in wanted(desired.sandboxes) if each.secret == args.name]


def _at(items: Collection[Approval], args: argparse.Namespace) -> list[Approval]:
    """Those of one host, when one is given. Raises NotFoundError when there are none."""
    if args.host is None:
        return list(items)
    host, port = parse_host(args.host)
    found = [item for item in items if item.host == host and port in (None, item.port)]
    if not found:
        places = ", ".join(item.place for item in items)
        raise NotFoundError(f"{args.name} is not bound to {args.host}", hint=f"its hosts are {places}")
    return found
