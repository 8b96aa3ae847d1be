"""Start an agent in a sandbox, or come back to it: `sbx run claude` here, `sbx run claude-shop` from anywhere.

The sandbox is made when there is none, with this directory (or the PATHs) as its workspaces. It is nobody's but this
command's: `up` and `down` leave it alone, `adopt` writes it into a sandbox file. Its name is AGENT-DIRECTORY unless
--name gives one; the same agent in the same directory comes back to the same sandbox.
"""

import argparse
import os
from pathlib import Path

from sandboxfile import pipeline
from sandboxfile.agents import AGENTS
from sandboxfile.cli import exits
from sandboxfile.cli.applying import add_apply_options, add_fit_option, fit_of, plan_and_apply, positive
from sandboxfile.cli.attaching import DETACH_KEYS, attach, parse_detach_keys
from sandboxfile.cli.choosing import Here
from sandboxfile.cli.commands.exec import variables
from sandboxfile.cli.project import known_sandboxes, load_project, this_layout
from sandboxfile.cli.unmanaged import Wish, bring_up, directory, resume, unasked
from sandboxfile.cli.verbs import apply_verb
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.text import did_you_mean
from sandboxfile.errors import NotFoundError, SandboxfileError
from sandboxfile.host.git_identity import git_identity
from sandboxfile.model.plan import Plan, PlanOptions
from sandboxfile.names import NAME_LIMIT, UNMANAGED, SandboxId, is_name

LOCK_TIMEOUT = 900.0  # seconds: another `run` may be building an image
EPILOG = "arguments after -- are for the agent: sbx run claude -- --continue"


def register(parser: argparse.ArgumentParser) -> None:
    parser.passes_on = True  # type: ignore[attr-defined]
    parser.epilog = EPILOG
    add_creation_options(parser)
    parser.add_argument("-d", "--detach", action="store_true", help="start the agent, and leave it to itself")
    parser.add_argument(
        "-e", "--env", metavar="NAME[=VALUE]", action="append", default=[], help="set a variable for the agent"
    )
    parser.add_argument(
        "--detach-keys", metavar="KEYS", default=DETACH_KEYS, help=f"what leaves the agent running: {DETACH_KEYS}"
    )
    add_apply_options(parser, asks=False)
    parser.add_argument(
        "-y", "--yes", action="store_true", default=False, help="do not ask before a sandbox of the file is made"
    )
    parser.set_defaults(lock_timeout=LOCK_TIMEOUT, allow_destroy=False)
    add_fit_option(parser)
    parser.add_argument("word", metavar="AGENT|NAME", help=f"an agent ({', '.join(AGENTS)}), or a sandbox there is")
    add_paths(parser)


def add_creation_options(parser: argparse.ArgumentParser) -> None:
    """What `run` and `create` can say of a sandbox that they make."""
    parser.add_argument("--name", metavar="NAME", type=_name, help="what it is called")
    parser.add_argument(
        "-t",
        "--template",
        metavar="TEMPLATE",
        help="of the file, built in, saved, or a base: oci:REF, tar:PATH",
    )
    parser.add_argument("--policy", metavar="POLICY", help="allow, deny, or the name of a policy")
    parser.add_argument("--no-git-identity", action="store_true", help="do not tell git inside who you are")
    parser.add_argument("--cpus", metavar="N", type=positive, help="processors")
    parser.add_argument("--memory", metavar="SIZE", help="memory, e.g. 4GiB")
    parser.add_argument("--disk", metavar="SIZE", help="size of its disk, e.g. 40GiB")


def add_paths(parser: argparse.ArgumentParser) -> None:
    """The workspaces."""
    parser.add_argument(
        "paths", metavar="PATH[:ro]", nargs="*", help="workspaces; the first one is where it works (default: .)"
    )


def _name(text: str) -> str:
    if not is_name(text):
        rule = f"lower-case letters, digits, `_` and `-`, at most {NAME_LIMIT}"
        raise argparse.ArgumentTypeError(f"{text!r} is not a name: {rule}")
    return text


def run(args: argparse.Namespace, console: Console) -> int:
    parse_detach_keys(args.detach_keys)  # told before anything is made
    env = tuple(variables(args.env, os.environ))
    here = Here(args, console)
    id = None if creates(args) else named(args.word, here)
    if id is not None:
        code = come_back(id, args, console)
    else:
        id, code = bring_up(wish(args, here), args, console)
    if code != exits.OK:
        return exits.EXEC_FAILED
    return attach(id, args.arguments, env, detach=args.detach, detach_keys=args.detach_keys, console=console)


def creates(args: argparse.Namespace) -> bool:
    """Whether something is said that only counts for a sandbox that is made."""
    given = (args.paths, args.name, args.template, args.policy, args.cpus, args.memory, args.disk, args.no_git_identity)
    return any(given)


def named(word: str, here: Here) -> SandboxId | None:
    """The sandbox of exactly this name: of the file here, made or not, or unmanaged; or `PROJECT/NAME`."""
    known = known_sandboxes(this_layout())
    if "/" in word:
        return next((id for id in known if f"{id.project}/{id.name}" == word), None)
    mine, unmanaged = SandboxId(here.project or "", word), SandboxId(UNMANAGED, word)
    if mine in known:
        here.check_project()
    if mine in known or (here.project and word in here.sandboxes):
        return mine
    if unmanaged in known:
        return unmanaged
    return mine if word in here.sandboxes else None  # of a wrong file: `come_back` tells what is wrong


def come_back(id: SandboxId, args: argparse.Namespace, console: Console) -> int:
    """Have a sandbox run: as its record says when it exists, else as the file asks for it, shown and asked first."""
    if id.project == UNMANAGED:
        return resume(id, args, console)
    if id in known_sandboxes(this_layout()):
        return apply_verb("start", [id], False, unasked(args), console)
    desired = load_project(args, console)
    args.shows_plan = True

    async def make_plans() -> list[Plan]:
        return [await pipeline.make_plan(desired, this_layout(), PlanOptions(only=(id.name,)), fit_of(args))]

    return plan_and_apply(make_plans, args, console)


def wish(args: argparse.Namespace, here: Here, *, local_image: bool = False) -> Wish:
    """What the arguments ask for. Raises NotFoundError for an unknown agent, template or policy, or a missing PATH."""
    if args.word not in AGENTS:
        raise _unknown(args, here)
    given = {name: getattr(args, name) for name in ("cpus", "memory", "disk")}
    return Wish(
        agent=args.word,
        directories=tuple(map(directory, args.paths or ["."])),
        explicit=bool(args.paths),
        name=args.name or "",
        template=here.template(args.template, local_image=local_image) if args.template else None,
        policy=here.policy(args.policy) if args.policy else None,
        resources={name: value for name, value in given.items() if value is not None},
        git_identity=not args.no_git_identity and git_identity(Path.home(), os.environ) is not None,
    )


def _unknown(args: argparse.Namespace, here: Here) -> SandboxfileError:
    word = args.word
    if (id := named(word, here)) is not None:
        return SandboxfileError(
            f"{word} is no agent, and the sandbox {id} keeps the workspaces and the settings that it was made with",
            hint=f"come back to it as it is: sbx run {word}",
        )
    near = did_you_mean(word, [*AGENTS, *here.sandboxes, *map(str, known_sandboxes(this_layout()))])
    listed = f"agents: {', '.join(AGENTS)}; `sbx ls -a` lists sandboxes"
    return NotFoundError(f"there is no agent and no sandbox {word}", hint=f"{near}; {listed}" if near else listed)
