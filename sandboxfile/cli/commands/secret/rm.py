"""Delete stored secrets, and what was approved for them: another secret of the name has to be approved anew."""

import argparse
import os

from sandboxfile.cli import exits
from sandboxfile.cli.project import this_layout
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.text import did_you_mean
from sandboxfile.errors import NotFoundError
from sandboxfile.host.approvals import read_approvals, revoke, source_key
from sandboxfile.host.layout import Layout
from sandboxfile.model.credential import SecretSource
from sandboxfile.secrets.store import Store


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", metavar="NAME", nargs="+", help="stored secrets, as `sbx secret ls` lists them")


def run(args: argparse.Namespace, console: Console) -> int:
    layout = this_layout()
    store = Store(layout, os.environ)
    places = store.places()
    if unknown := [name for name in args.names if name not in places]:
        hint = did_you_mean(unknown[0], list(places)) or "`sbx secret ls` lists them"
        raise NotFoundError(f"there is no secret {unknown[0]} in the store; nothing was deleted", hint=hint)
    for name in dict.fromkeys(args.names):
        _forget_approvals(name, layout)  # first: killed in between, too little is approved and not too much
        store.remove(name)
        console.say(f"{name} is deleted")
    return exits.OK


def _forget_approvals(name: str, layout: Layout) -> None:
    key = source_key(SecretSource("store", name))
    if gone := [item for item in read_approvals(layout) if item.source_key == key]:
        revoke(layout, gone)
