"""Before files are applied: whether somebody has looked at what a sandbox could have written into them.

At a terminal the files are named with the plan, and yes to the plan approves them. Where nobody is asked, files that
are in doubt may do all that widens nothing; they stay in doubt then, for what they say today may mean more tomorrow
(another profile, another variable). Files that no sandbox could ever write to are approved by being applied.

A saved plan has its files with it, under its seal: the same is asked of them when it is applied.
"""

import argparse
from collections.abc import Collection, Iterable, Sequence

from sandboxfile.cli.project import this_layout
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.text import harmless
from sandboxfile.errors import SandboxfileError
from sandboxfile.host.layout import Layout
from sandboxfile.host.trust import approve, find_doubts
from sandboxfile.model.desired import FileContent
from sandboxfile.model.plan import Plan, Shift
from sandboxfile.planning.trusting import Doubt
from sandboxfile.planning.widening import widening

_TOLD = 20  # ways in which a plan widens
HINT = "look at them (git diff), then run it at a terminal and answer, or approve them as they are: sbx trust"


class FilesNotTrusted(SandboxfileError):
    """A plan widens, and its files are not as somebody approved them, and a sandbox could have written them.

    Nothing was changed. `doubts` are the files.
    """

    def __init__(self, doubts: Sequence[Doubt], shifts: Sequence[Shift]) -> None:
        more = [f"  and {len(shifts) - _TOLD} more"] if len(shifts) > _TOLD else []
        said = [
            "nothing was changed: the plan widens what sandboxes may do, and a sandbox could have written these files",
            "since somebody approved them:",
            *(f"  {doubt.words}" for doubt in doubts),
            "what it widens:",
            *(f"  {shift.text}" for shift in shifts[:_TOLD]),
            *more,
        ]
        super().__init__("\n".join(said), hint=HINT)
        self.doubts = tuple(doubts)


def settle_trust(plans: Collection[Plan], args: argparse.Namespace, console: Console) -> tuple[FileContent, ...]:
    """Say which files are in doubt, or refuse; gives the files that are approved by whoever goes on.

    Without --yes the question whether to go on is still to come. Raises FilesNotTrusted, StateError.
    """
    layout = this_layout()
    if args.yes and (args.shows_plan or not console.interactive):
        return unattended(plans, layout)
    doubts = _doubts(plans, layout)
    if not doubts:
        return _files(plans)
    shifts = _widening(plans)
    if args.yes and not shifts:
        return unattended(plans, layout)
    whole = all(plan.whole for plan in plans)
    console.say(harmless(told(doubts, whole=whole)))
    if args.yes and not console.ask("Go on with these files as they are?"):
        raise FilesNotTrusted(doubts, shifts)
    return _files(plans) if whole else _without(plans, doubts)


def unattended(plans: Collection[Plan], layout: Layout) -> tuple[FileContent, ...]:
    """The same where nobody is asked, and nothing said. Raises FilesNotTrusted, StateError."""
    shifts = _widening(plans)
    if not shifts:
        return ()
    doubts = _doubts(plans, layout)
    if doubts:
        raise FilesNotTrusted(doubts, shifts)
    return _files(plans)


def trust(files: Iterable[FileContent]) -> None:
    """Approve files, before anything of theirs is applied: who is killed meanwhile is not asked anew."""
    approve(this_layout(), files)


def told(doubts: Sequence[Doubt], *, whole: bool = True) -> str:
    """What somebody has to know before they answer."""
    lines = ["These files are not as they were approved, and a sandbox could have written them:"]
    lines += [f"  {doubt.words}" for doubt in doubts]
    if whole:
        return "\n".join([*lines, "Yes approves them as they are: look at them first (git diff)."])
    rest = "The plan is not all that they ask for: yes does this much, and they stay to be approved (sbx trust)."
    return "\n".join([*lines, rest])


def doubts_told(plan: Plan, console: Console) -> None:
    """For who only looks at a plan: the files in doubt, when `--yes` would not apply it for their sake."""
    if widening(plan) and (doubts := _doubts([plan], this_layout())):
        console.warn(harmless("not as approved, and a sandbox could have written them: `up --yes` refuses this plan"))
        for doubt in doubts:
            console.say(harmless(f"  {doubt.words}"))


def _doubts(plans: Collection[Plan], layout: Layout) -> tuple[Doubt, ...]:
    files = _files(plans)
    return find_doubts(layout, files) if files else ()


def _widening(plans: Collection[Plan]) -> tuple[Shift, ...]:
    """Of plans that are made from files: what a command asks for is asked for by who typed it."""
    return tuple(shift for plan in plans if plan.files for shift in widening(plan))


def _files(plans: Collection[Plan]) -> tuple[FileContent, ...]:
    return tuple(dict.fromkeys(file for plan in plans for file in plan.files))


def _without(plans: Collection[Plan], doubts: Sequence[Doubt]) -> tuple[FileContent, ...]:
    doubtful = {doubt.file for doubt in doubts}
    return tuple(file for file in _files(plans) if file not in doubtful)
