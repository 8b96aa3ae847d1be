"""Show the rules that hold for a sandbox: of every layer, with who made them and where they are written.

For a sandbox that exists what was applied, for others what the file asks for. With --effective the rules stand in
the order in which they decide, with what holds by default; nothing is allowed that is not shown.
"""

import argparse

from sandboxfile.cli import exits
from sandboxfile.cli.policies import held, today
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.json import write_json
from sandboxfile.cli.views.policy import effective, policy_object, show
from sandboxfile.cli.views.text import harmless


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--effective", action="store_true", help="in the order in which the rules decide")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("name", metavar="NAME", help="a sandbox of this project, or PROJECT/NAME")


def run(args: argparse.Namespace, console: Console) -> int:
    found = held(args.name, args, console)
    if args.format == "json":
        write_json({"sandbox": str(found.id), "source": found.source, **policy_object(found.policy)}, console)
        return exits.OK
    console.say(harmless(found.words))
    console.print(effective(found.policy, today()) if args.effective else show(found.policy))
    return exits.OK
