"""Before files are applied: whether somebody has looked at what a sandbox could have written into them.

At a terminal the files are named with the plan, and yes to the plan approves them. Where nobody is asked, files that
are in doubt change nothing of what was applied: what runs may go on, start and be restarted as it was. That a change
widens nothing is not enough: the command of another sandbox is a neutral change, and does all that this one may. Files
that no sandbox could write to since they were approved, or ever, are approved by being applied.

A saved plan has its files with it, under its seal, and which of them were not in doubt when it was made: about the
others the same is asked when it is applied.
"""

import argparse
from collections.abc import Collection, Iterable, Sequence

from sandboxfile.cli.project import this_layout
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.text import harmless
from sandboxfile.errors import SandboxfileError
from sandboxfile.host.layout import Layout
from sandboxfile.host.trust import approve, find_doubts
from sandboxfile.model.desired import DesiredState, FileContent
from sandboxfile.model.plan import Plan
from sandboxfile.planning.trusting import Doubt, alters, what_it_does

_NOT_AS_APPROVED = "These files are not as they were approved, and a sandbox could have written them:"
_TOLD = 20  # lines about what a plan does
# Not with git: in a repository that a sandbox can write to it runs what that has set (`.git/commondir`, submodules).
_LOOK = "look at them in an editor: git may run what a sandbox has set there (sbx review)"
HINT = f"{_LOOK}; then run it at a terminal and answer, or approve them as they are: sbx trust"


class FilesNotTrusted(SandboxfileError):
    """A plan changes something, and its files are not as somebody approved them, and a sandbox could have written them.

    Nothing was changed. `doubts` are the files.
    """

    def __init__(self, doubts: Sequence[Doubt], does: Sequence[str]) -> None:
        more = [f"  and {len(does) - _TOLD} more"] if len(does) > _TOLD else []
        said = [
            "nothing was changed: a sandbox could have written these files since somebody approved them:",
            *(f"  {doubt.words}" for doubt in doubts),
            "what the plan changes:",
            *(f"  {sentence}" for sentence in does[:_TOLD]),
            *more,
        ]
        super().__init__("\n".join(said), hint=HINT)
        self.doubts = tuple(doubts)


def settle_trust(
    plans: Collection[Plan], args: argparse.Namespace, console: Console, vouched: Collection[str] = ()
) -> tuple[FileContent, ...]:
    """Say which files are in doubt, or refuse; gives the files that are approved by whoever goes on.

    `vouched` are paths of files that were not in doubt when they were read, some time ago. Without --yes the question
    whether to go on is still to come. Raises FilesNotTrusted, StateError.
    """
    layout = this_layout()
    if args.yes and (args.shows_plan or not console.interactive):
        return unattended(plans, layout, vouched)
    doubts = _doubts(plans, layout, vouched)
    if not doubts:
        return _files(plans)
    if args.yes and not _altering(plans):
        return ()
    whole = all(plan.whole for plan in plans)
    console.say(harmless(told(doubts, whole=whole)))
    if args.yes and not console.ask("Go on with these files as they are?"):
        raise FilesNotTrusted(doubts, _told(plans))
    return _files(plans) if whole else _without(plans, doubts)


def unattended(plans: Collection[Plan], layout: Layout, vouched: Collection[str] = ()) -> tuple[FileContent, ...]:
    """The same where nobody is asked, and nothing said. Raises FilesNotTrusted, StateError."""
    if not _altering(plans):
        return ()
    doubts = _doubts(plans, layout, vouched)
    if doubts:
        raise FilesNotTrusted(doubts, _told(plans))
    return _files(plans)


def check_choice(desired: DesiredState, args: argparse.Namespace) -> None:
    """That files choose which sandboxes run, where nobody is asked: even to start one is to do what they say.

    Raises FilesNotTrusted, StateError.
    """
    if args.yes and (doubts := find_doubts(this_layout(), desired.files)):
        raise FilesNotTrusted(doubts, [f"which sandboxes run: those of the profiles {', '.join(desired.chosen)}"])


def settle_approval(secret: str, files: Iterable[FileContent], console: Console) -> None:
    """Before a secret is approved as the files say: tell which of them are in doubt; refuse where nobody is asked.

    Raises FilesNotTrusted, StateError.
    """
    if doubts := find_doubts(this_layout(), files):
        if not console.interactive:
            raise FilesNotTrusted(doubts, [f"secret {secret}: approve"])
        rest = "Yes is for this secret alone, and they stay to be approved (sbx trust)."
        console.say(harmless("\n".join([_NOT_AS_APPROVED, *(f"  {doubt.words}" for doubt in doubts), rest])))


def settle_builds(names: Iterable[str], files: Iterable[FileContent], console: Console) -> None:
    """Before templates are built and nothing else: say which of the files are in doubt, and ask, or refuse.

    Yes is for these builds: what else the files say nobody has seen. Raises FilesNotTrusted, StateError.
    """
    if doubts := find_doubts(this_layout(), files):
        rest = "Yes builds from them as they are, and they stay to be approved (sbx trust)."
        console.say(harmless("\n".join([_NOT_AS_APPROVED, *(f"  {doubt.words}" for doubt in doubts), rest])))
        if not console.interactive or not console.ask("Build from these files?"):
            raise FilesNotTrusted(doubts, [f"template {name}: build" for name in names])


def trust(files: Iterable[FileContent]) -> None:
    """Approve files, before anything of theirs is applied: who is killed meanwhile is not asked anew."""
    approve(this_layout(), files)


def told(doubts: Sequence[Doubt], *, whole: bool = True) -> str:
    """What somebody has to know before they answer."""
    lines = [_NOT_AS_APPROVED]
    lines += [f"  {doubt.words}" for doubt in doubts]
    if whole:
        return "\n".join([*lines, f"Yes approves them as they are: first {_LOOK}."])
    rest = "The plan is not all that they ask for: yes does this much, and they stay to be approved (sbx trust)."
    return "\n".join([*lines, rest])


def doubts_of(plan: Plan) -> tuple[Doubt, ...]:
    """For who only looks at a plan: the files in doubt, when `--yes` would not apply it for their sake."""
    return _doubts([plan], this_layout()) if alters(plan) else ()


def doubts_told(doubts: Sequence[Doubt], console: Console) -> None:
    """Those of a plan that is only looked at."""
    if doubts:
        console.warn("not as approved, and a sandbox could have written them: `up --yes` refuses this plan")
        for doubt in doubts:
            console.say(harmless(f"  {doubt.words}"))


def _doubts(plans: Collection[Plan], layout: Layout, vouched: Collection[str] = ()) -> tuple[Doubt, ...]:
    files = [file for file in _files(plans) if file.path not in vouched]
    return find_doubts(layout, files) if files else ()


def _altering(plans: Collection[Plan]) -> list[Plan]:
    """Of plans that are made from files: what a command asks for is asked for by who typed it."""
    return [plan for plan in plans if plan.files and alters(plan)]


def _told(plans: Collection[Plan]) -> list[str]:
    return [sentence for plan in _altering(plans) for sentence in what_it_does(plan)]


def _files(plans: Collection[Plan]) -> tuple[FileContent, ...]:
    return tuple(dict.fromkeys(file for plan in plans for file in plan.files))


def _without(plans: Collection[Plan], doubts: Sequence[Doubt]) -> tuple[FileContent, ...]:
    doubtful = {doubt.file for doubt in doubts}
    return tuple(file for file in _files(plans) if file not in doubtful)
