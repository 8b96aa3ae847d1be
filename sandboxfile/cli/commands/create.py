"""Make a sandbox for an agent and start it, without starting the agent: `sbx run NAME` does that later.

As `run`, in everything else: the same names, the same defaults, and one that is there already is only started.
"""

import argparse

from sandboxfile.agents import AGENTS
from sandboxfile.cli import exits
from sandboxfile.cli.applying import add_apply_options, add_fit_option
from sandboxfile.cli.choosing import Here
from sandboxfile.cli.commands.run import LOCK_TIMEOUT, add_creation_options, add_paths, wish
from sandboxfile.cli.unmanaged import bring_up
from sandboxfile.cli.views.console import Console
from sandboxfile.errors import SandboxfileError


def register(parser: argparse.ArgumentParser) -> None:
    parser.passes_on = True  # type: ignore[attr-defined]
    add_creation_options(parser)
    parser.add_argument(
        "--load-local-template", action="store_true", help="-t names an image of this host's docker or podman"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="print only its name")
    add_apply_options(parser, asks=False)
    parser.set_defaults(lock_timeout=LOCK_TIMEOUT)
    add_fit_option(parser)
    parser.add_argument("word", metavar="AGENT", help=f"one of {', '.join(AGENTS)}")
    add_paths(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    if args.arguments:
        raise SandboxfileError("create starts no agent that could get arguments", hint="give them to sbx run")
    if args.load_local_template and not args.template:
        raise SandboxfileError("--load-local-template: which image?", hint="name it with -t IMAGE")
    id, code = bring_up(wish(args, Here(args, console), local_image=args.load_local_template), args, console)
    if code == exits.OK:
        console.print(str(id) if args.quiet else f"{id} is there; start its agent with: sbx run {id}")
    return code
