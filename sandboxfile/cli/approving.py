"""The question whether secrets may go to hosts, where nobody has answered it yet. `--yes` is no answer to it.

A file can name any secret of its user and any host: this is what keeps a file from sending the one to the other, and
from running a command of its choice.
"""

import argparse
import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sandboxfile import pipeline
from sandboxfile.cli.project import this_layout
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.diagnostics import visible
from sandboxfile.cli.views.secrets import source_text
from sandboxfile.cli.views.text import table
from sandboxfile.diagnostics import Diagnostics, as_warnings, warning
from sandboxfile.errors import SandboxfileError
from sandboxfile.host.approvals import Approval, approvals_needed, approve, read_approvals
from sandboxfile.model.credential import SecretSource
from sandboxfile.model.desired import DesiredSandbox
from sandboxfile.policy.patterns import PatternProblem, parse_pattern

HEADER = ("SECRET", "SOURCE", "MAY GO TO", "FROM")


@dataclass(frozen=True, slots=True)
class Wanted:
    """One secret that is bound to one place, and the sandboxes from which it goes there."""

    secret: str
    source: SecretSource
    approval: Approval
    sandboxes: tuple[str, ...]


def wanted(specs: Sequence[DesiredSandbox]) -> list[Wanted]:
    """All that has to be approved for these sandboxes, whether it is or not; sorted."""
    found: dict[tuple[str, Approval], tuple[SecretSource, list[str]]] = {}
    for spec in specs:
        for credential in spec.policy.credentials:
            for approval in approvals_needed([credential]):
                _, ids = found.setdefault((credential.name, approval), (credential.source, []))
                ids.append(str(spec.id))
    return [
        Wanted(secret, source, approval, tuple(dict.fromkeys(ids)))
        for (secret, approval), (source, ids) in sorted(found.items(), key=lambda item: item[0])
    ]


def ask_approvals(specs: Sequence[DesiredSandbox], args: argparse.Namespace, console: Console) -> None:
    """Have everything approved that these sandboxes need. Raises SandboxfileError when it is not, StateError."""
    missing = unapproved(specs)
    if not missing:
        return
    console.say(question(missing))
    if not console.interactive:
        raise SandboxfileError(
            "nothing was changed: these secrets are not approved for these hosts, and there is no terminal to ask on",
            hint=" && ".join(commands(missing, args)),
        )
    if not console.ask("Approve this?"):
        raise SandboxfileError("nothing was changed: these secrets may not go to these hosts")
    approve(this_layout(), [each.approval for each in missing])


def unapproved(specs: Sequence[DesiredSandbox]) -> list[Wanted]:
    """What these sandboxes need and nobody has approved. Raises StateError."""
    needed = wanted(specs)
    approved = read_approvals(this_layout()) if needed else frozenset()
    return [each for each in needed if each.approval not in approved]


def unready(specs: Sequence[DesiredSandbox], args: argparse.Namespace, given: Collection[str] = ()) -> Diagnostics:
    """For who only looks: a warning for each secret that is not there, and for each place that one may not go to yet.

    `given`: names of those that a machine has been given already. No command is run for it. Raises StateError.
    """
    missing = unapproved(specs)
    hints = commands(missing, args)
    return (
        *as_warnings(pipeline.secret_problems(specs, this_layout(), run_commands=False, given=given)),
        *(
            warning(
                "Secret not approved",
                f"`{each.secret}` ({_source(each)}) may not go to {each.approval.place} yet, from"
                f" {', '.join(each.sandboxes)}.",
                hint=hint,
            )
            for each, hint in zip(missing, hints, strict=True)
        ),
    )


def question(missing: Sequence[Wanted]) -> str:
    """What is asked, whole: nothing of it is cut."""
    rows = [(each.secret, _source(each), each.approval.place, ", ".join(each.sandboxes)) for each in missing]
    lines = ["Secrets of this host are asked for:", "", table(HEADER, rows), ""]
    if any(each.source.kind == "command" for each in missing):
        lines.append("A command runs on this host, as you, outside of every sandbox.")
    return "\n".join([*lines, "Once approved, a source may go to a host from every project."])


def _source(each: Wanted) -> str:
    """With the file that a link leads to: that one is approved."""
    text = source_text(each.source)
    real = each.approval.source_key if each.source.kind == "file" else ""
    return text if real in ("", f"file {each.source.name}") else f"{text}, which is {visible(real)}"


def commands(missing: Sequence[Wanted], args: argparse.Namespace) -> list[str]:
    """The commands that approve it."""
    words = ["sbx"]
    for option, value in (("-C", getattr(args, "directory", None)), ("-f", getattr(args, "file", None))):
        words += [option, str(value)] if value else []
    return [shlex.join([*words, "secret", "approve", each.secret, each.approval.place]) for each in missing]


def parse_host(text: str) -> tuple[str, int | None]:
    """`HOST` or `HOST:PORT`, canonical. Raises SandboxfileError for wildcards, ranges, and what is no host."""
    found = parse_pattern(text)
    if isinstance(found, PatternProblem):
        raise SandboxfileError(found.detail, hint=found.hint)
    if found.kind != "host":
        raise SandboxfileError(f"a secret goes to exact hosts, and {text} is none", hint="e.g. api.example.com:443")
    return found.name, found.port
