"""A plan as a comment on a pull request: what widens and what is lost first, a table, each object's details, folded.

Whoever can propose a file can put any text into its plan. Nothing of it becomes markup, a link, or a mention: it stands
inside `<code>`, punctuation as character references, which no Markdown reader takes for structure, or in a code block
that it cannot end. Long plans are cut, and say so: a comment that is too long would not be posted at all.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from sandboxfile.diagnostics import Diagnostic, has_errors
from sandboxfile.model.plan import Change, Plan, Shift
from sandboxfile.planning.render import change_lines, summary
from sandboxfile.planning.trusting import Doubt

LIMIT = 60_000  # characters; GitHub takes 65,536
_LOST_NAMED = 50
_CELL = 200  # characters of a cell of the table
_PLAIN = re.compile(r"[^A-Za-z0-9 ]")


def to_markdown(plan: Plan, doubts: Sequence[Doubt] = ()) -> str:
    """The comment. `doubts` are those of its files."""
    parts = _Parts()
    parts.add(f"### sbx plan: {code(plan.project)}\n")
    widens = [shift for change in plan.changes for shift in change.shifts if shift.direction == "widens"]
    first = (*widens_blocks(widens), *_lost(plan), *_problems(plan.diagnostics), *_doubted(doubts))
    for block in (*first, *_orphans(plan), _verdict(plan)):
        parts.add(block)
    if plan.changes:
        parts.add("| | Object | Action | Why |\n|---|---|---|---|")
        parts.add_each((_row(change) for change in plan.changes), "more rows")
        parts.add("")
        parts.add_each((_details(change) for change in plan.changes if _has_details(change)), "more objects")
    return "\n".join(parts.blocks) + "\n"


def folded(blocks: Iterable[str], objects: Iterable[tuple[str, Sequence[str]]]) -> str:
    """A comment of blocks, and for each object a summary and lines as those of a plan, folded."""
    parts = _Parts()
    for block in blocks:
        parts.add(block)
    parts.add_each((_fold(summary, lines) for summary, lines in objects), "more objects")
    return "\n".join(parts.blocks) + "\n"


def code(text: str) -> str:
    """Any text on one line as `<code>`: harmless anywhere in Markdown, a cell of a table included."""
    return f"<code>{_PLAIN.sub(lambda found: f'&#{ord(found[0])};', _one_line(text))}</code>"


def fenced(lines: Iterable[str]) -> str:
    """Any lines as a code block, coloured as a diff; its fence is longer than every one inside."""
    told = [_one_line(line) for line in lines]
    longest = max((len(run) for line in told for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}diff", *told, fence])


def widens_blocks(shifts: Sequence[Shift]) -> Iterator[str]:
    """A section of the ways in which something may do more than before; nothing when there are none."""
    if shifts:
        yield f"#### Widens\n\n{len(shifts)} way{'' if len(shifts) == 1 else 's'} to do more than before:\n"
        more = [f"  and {len(shifts) - _LOST_NAMED} more"] if len(shifts) > _LOST_NAMED else []
        yield f"{fenced([*(f'! {_cut(shift.text)}' for shift in shifts[:_LOST_NAMED]), *more])}\n"


class _Parts:
    """Blocks, as long as there is room; room for what says that some were left out is kept."""

    def __init__(self) -> None:
        self.blocks: list[str] = []
        self._room = LIMIT

    def add(self, block: str) -> None:
        self.blocks.append(block)
        self._room -= len(block) + 1

    def add_each(self, blocks: Iterable[str], what: str) -> None:
        items = list(blocks)
        for index, block in enumerate(items):
            if len(block) + 1 > self._room:
                self.blocks.append(f"\n*{len(items) - index} {what}: `sbx plan` shows all of them.*")
                return
            self.add(block)


def _lost(plan: Plan) -> Iterator[str]:
    lost = [change for change in plan.changes if change.loses_disk]
    if lost:
        yield "> [!CAUTION]"
        yield f"> **THE DISK IS LOST of {len(lost)} sandbox{'' if len(lost) == 1 else 'es'}:** everything outside"
        checkpoints = sum(change.checkpoints for change in lost)
        more = f", and {checkpoints} checkpoint{'' if checkpoints == 1 else 's'}" if checkpoints else ""
        yield f"> the workspaces{more}. {', '.join(_cell(_name(change)) for change in lost[:_LOST_NAMED])}"
        if len(lost) > _LOST_NAMED:
            yield f"> and {len(lost) - _LOST_NAMED} more"
        if kept := [change for change in lost if change.checkpoint]:
            named = ", ".join(_cell(_name(change)) for change in kept[:_LOST_NAMED])
            more = f" and {len(kept) - _LOST_NAMED} more" if len(kept) > _LOST_NAMED else ""
            yield f"> Kept before as the checkpoint {_cell(kept[0].checkpoint)}: {named}{more}"
        yield ""


def _problems(found: Sequence[Diagnostic]) -> Iterator[str]:
    if found:
        if has_errors(found):
            yield "> [!WARNING]\n> **Refused: nothing of this will be done.**\n"
        lines = [f"{item.severity.value}: {item.summary}: {_cut(item.detail)}" for item in found[:_LOST_NAMED]]
        more = [f"and {len(found) - _LOST_NAMED} more"] if len(found) > _LOST_NAMED else []
        yield f"{fenced([*lines, *more])}\n"


def _doubted(doubts: Sequence[Doubt]) -> Iterator[str]:
    if doubts:
        yield "> [!WARNING]"
        yield "> **A sandbox could have written these files, and they are not as they were approved**"
        yield "> (`up --yes` refuses this plan):"
        yield f"> {', '.join(_cell(doubt.words) for doubt in doubts[:_LOST_NAMED])}"
        if len(doubts) > _LOST_NAMED:
            yield f"> and {len(doubts) - _LOST_NAMED} more"
        yield ""


def _orphans(plan: Plan) -> Iterator[str]:
    if plan.orphans:
        named = ", ".join(_cell(id.name) for id in plan.orphans[:_LOST_NAMED])
        more = f" and {len(plan.orphans) - _LOST_NAMED} more" if len(plan.orphans) > _LOST_NAMED else ""
        yield f"Not in the file, and left alone (`--remove-orphans` deletes them): {named}{more}\n"


def _verdict(plan: Plan) -> str:
    return f"**{summary(plan)}**\n" if plan.changes else "**No changes: everything is as it should be.**\n"


def _row(change: Change) -> str:
    mark = ":bangbang:" if change.loses_disk else ""
    return f"| {mark} | {_cell(change.subject)} | {change.action} | {_cell(change.cause)} |"


def _has_details(change: Change) -> bool:
    return bool(change.fields or change.reach or change.shifts or change.checkpoint)


def _details(change: Change) -> str:
    return _fold(f"{change.subject}: {change.action}", tuple(change_lines(change)))


def _fold(summary: str, lines: Sequence[str]) -> str:
    first, *rest = lines
    subject, _, action = summary.rpartition(": ")
    told = fenced([first.strip(), *map(_as_diff, rest)])
    return f"<details><summary>{_cell(subject)}: {action}</summary>\n\n{told}\n\n</details>\n"


def _as_diff(line: str) -> str:
    """Beneath an object. What is lost gets the colour of what goes away; nothing else gets one."""
    bare = line.strip()
    return f"- {bare}" if bare.startswith("!!") else bare if bare.startswith("! ") else f"  {bare}"


def _name(change: Change) -> str:
    return change.subject.removeprefix("sandbox ")


def _cell(text: str) -> str:
    return code(_cut(text))


def _cut(text: str) -> str:
    return text if len(text) <= _CELL else f"{text[: _CELL - 1]}…"


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
