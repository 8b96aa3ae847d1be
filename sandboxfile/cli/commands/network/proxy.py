"""Change what a sandbox may reach, at once: a running one without restart, a stopped one from its next start on.

The rules come on top of the sandbox's own policy and stay until its file is applied again (`sbx plan` shows them as a
difference); with --save they are written into the sandbox file, which keeps its comments and its form. Policies that
are enforced hold all the same. Without options: show what the sandbox is held to now.
"""

import argparse
from dataclasses import replace

from sandboxfile.cli import editing, exits
from sandboxfile.cli.applying import add_apply_options, plan_and_apply
from sandboxfile.cli.policies import today
from sandboxfile.cli.project import find_sandboxes, this_layout
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.policy import show
from sandboxfile.cli.views.text import harmless
from sandboxfile.errors import NotFoundError
from sandboxfile.host.statedir import read_record
from sandboxfile.model.plan import Plan
from sandboxfile.model.policy import Policy, Request
from sandboxfile.names import SandboxId
from sandboxfile.observe import observe
from sandboxfile.planning import plan_policy
from sandboxfile.policy.command import PolicyEdit, command_edit, edited
from sandboxfile.policy.compiled import compile_policy
from sandboxfile.policy.patterns import PatternProblem, parse_pattern

OPTIONS = (
    ("allow-host", "HOST", "let it through: example.com, *.example.com, example.com:443"),
    ("block-host", "HOST", "keep it out"),
    ("allow-cidr", "CIDR", "let addresses through: 203.0.113.0/24"),
    ("block-cidr", "CIDR", "keep addresses out"),
    ("bypass-host", "HOST", "pass it on without interception (certificate pinning)"),
    ("bypass-cidr", "CIDR", "pass addresses on without interception"),
)


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--policy", choices=("allow", "deny"), help="what happens to all that no rule speaks of")
    for name, metavar, purpose in OPTIONS:
        parser.add_argument(f"--{name}", metavar=metavar, action="append", default=[], help=purpose)
    parser.add_argument("--save", action="store_true", help="write it into the sandbox file as well")
    add_apply_options(parser, asks=False)
    parser.set_defaults(shows_plan=True)
    parser.add_argument("name", metavar="NAME", help="a sandbox of this project, or PROJECT/NAME")


def run(args: argparse.Namespace, console: Console) -> int:
    edit, problems = read_edit(args)
    if problems:
        for option, problem in problems:
            console.error(harmless(f"{option}: {problem.detail}"))
            console.say(harmless(f"hint: {problem.hint}"))
        return exits.USAGE
    [id] = find_sandboxes([args.name], args)
    applied = read_record(this_layout().sandbox(id))
    if edit.empty and not args.save:
        console.print(show(applied.spec.policy))
        return exits.OK
    wanted = save(id, edit, args, console) if args.save else None

    async def make_plans() -> list[Plan]:
        found = await observe(this_layout(), id.project)
        there = next((sandbox for sandbox in found.sandboxes if sandbox.id == id), None)
        if there is None:
            raise NotFoundError(f"there is no sandbox {id} any more")
        policy = wanted or (edited(there.applied.spec.policy, edit) if there.applied else applied.spec.policy)
        return [plan_policy(found, id, policy)]

    code = plan_and_apply(make_plans, args, console)
    if code == exits.OK:
        warn_of_blocks(read_record(this_layout().sandbox(id)).spec.policy, edit, console)
    return code


# --- what was typed ----------------------------------------------------------------------------------------------


def read_edit(args: argparse.Namespace) -> tuple[PolicyEdit, list[tuple[str, PatternProblem]]]:
    """The edit that the options ask for, in canonical patterns, and every option that is wrong."""
    problems: list[tuple[str, PatternProblem]] = []
    lists: dict[str, list[str]] = {"allow": [], "block": [], "bypass": []}
    for name, metavar, _ in OPTIONS:
        for text in getattr(args, name.replace("-", "_")):
            pattern = _pattern(text, metavar)
            if isinstance(pattern, PatternProblem):
                problems.append((f"--{name} {text}", pattern))
            else:
                lists[name.partition("-")[0]].append(pattern)
    allow, block, bypass = (tuple(dict.fromkeys(each)) for each in lists.values())
    for both in (text for text in allow if text in block):
        hint = "the same cannot be allowed and blocked at once"
        problems.append(
            (f"--allow-host {both}", PatternProblem("Contradiction", f"{both} is also to be blocked", hint))
        )
    return PolicyEdit(args.policy, allow, block, bypass), problems


def _pattern(text: str, kind: str) -> str | PatternProblem:
    """The canonical spelling of a pattern of one kind, HOST or CIDR."""
    pattern = parse_pattern(text)
    if isinstance(pattern, PatternProblem):
        return pattern
    if (pattern.kind == "range") == (kind == "CIDR"):
        return pattern.text
    if kind == "CIDR":
        hint = "write a range such as 203.0.113.0/24, or use the option that ends in -host"
        return PatternProblem("No range", f'"{text}" is no range of addresses', hint)
    return PatternProblem("No host", f'"{text}" is a range of addresses', "use the option that ends in -cidr")


def warn_of_blocks(policy: Policy, edit: PolicyEdit, console: Console) -> None:
    """Say where something that was to be allowed is blocked all the same, by another rule or an enforced policy."""
    compiled = compile_policy(policy)
    for text in edit.allow:
        pattern = parse_pattern(text)
        if isinstance(pattern, PatternProblem) or pattern.kind != "host":
            continue
        decision = compiled.decide(Request(pattern.name, pattern.port or 443), None, today())
        if not decision.allowed:
            console.warn(harmless(f"still blocked: {decision.reason}"))


# --- into the file -----------------------------------------------------------------------------------------------


def save(id: SandboxId, edit: PolicyEdit, args: argparse.Namespace, console: Console) -> Policy:
    """Write into the file what commands changed, before and now; gives the file's policy, which is to be applied.

    With the credentials that the sandbox has: they are `up`'s matter, and may depend on the environment of that.
    """
    applied = read_record(this_layout().sandbox(id))
    meant = edited(applied.spec.policy, edit)

    def additions(written: Policy) -> editing.Additions:
        change = command_edit(meant, written) or PolicyEdit()
        return editing.Additions(change.allow, change.block, change.bypass, change.mode)

    path = editing.file_of(id, applied.source, args.file)
    proposal = editing.propose(path, id, additions, lambda _, new: editing.same_meaning(new, meant), console)
    saved = replace(proposal.policy, settings=meant.settings, credentials=meant.credentials)
    if proposal.after == proposal.before:
        console.say(f"{proposal.path} says so already")
        return saved
    console.say(harmless(proposal.diff()))
    editing.write(proposal)
    console.say(harmless(f"{proposal.path} is changed"))
    return saved
