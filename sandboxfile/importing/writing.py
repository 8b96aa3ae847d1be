"""A draft to the text of a sandbox.yaml, which is loaded back before anybody gets it.

What the language refuses is taken out, part by part, and told with its place in the source; then the rest is loaded
again, until nothing is wrong. The one exception are parts without which the file would allow more: those are errors.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from sandboxfile.diagnostics import Diagnostic, Severity, Span, error, has_errors, in_order
from sandboxfile.importing.draft import Draft, Imported, Note, Part, shown
from sandboxfile.language.document import Document
from sandboxfile.language.tree import Node, Sequence, Table
from sandboxfile.language.validate import load
from sandboxfile.model.spec import Path
from sandboxfile.resolve.render import to_yaml

_FILE = "sandbox.yaml"
_ROUNDS = 12  # what is taken out leaves references to it, which go in the next round
_NOTED = 100  # lines of the head
_ORDER = ("name", "templates", "policies", "secrets", "volumes", "sandboxes")
_COMMENTS = {
    "templates": "What disks are made from.",
    "policies": "What may be reached by sandboxes with `policy: NAME`. Private ranges are blocked unless `allow` has an"
    " exact host or a range.",
    "secrets": "Where values are on this host: requests get them on the way out, they never enter a sandbox.",
    "volumes": "Disks that stay when sandboxes are deleted. One sandbox at a time has one.",
    "sandboxes": "One without `policy` reaches nothing but its agent's own hosts.",
}


def finish(draft: Draft, title: str) -> Imported:
    """The draft as a file that loads without errors. `title` says in its head what it was made of."""
    parts, notes = list(draft.parts), list(draft.notes)
    if has_errors(draft.problems):
        return Imported(None, tuple(notes), in_order(draft.problems))
    for _ in range(_ROUNDS):
        data, owners = _data(parts)
        text = _text(data, notes, title)
        _, document, problems = load(text, _FILE, variables=_Ones())
        wrong = [problem for problem in problems if problem.severity is Severity.ERROR]
        if not wrong:
            return Imported(text, tuple(notes), in_order(draft.problems))
        refused = _refused(wrong, document, owners)
        if not refused:
            break
        if needed := [(part, problem) for part, problem in refused if part.needed]:
            errors = [_needed(part, problem) for part, problem in needed]
            return Imported(None, tuple(notes), in_order([*draft.problems, *errors]))
        gone = {id(part) for part, _ in refused}
        parts = [part for part in parts if id(part) not in gone]
        told = {(note.what, note.span) for note in notes}  # a template's, and then that of who uses it
        found = [Note(part.what, f"not valid here: {shown(problem.detail)}", part.span) for part, problem in refused]
        notes += [note for note in found if (note.what, note.span) not in told]
    why = shown(wrong[0].detail)
    failed = error("Cannot be imported", f"What comes of it is no valid sandbox file: {why}", None, "import less of it")
    return Imported(None, tuple(notes), in_order([*draft.problems, failed]))


def _needed(part: Part, problem: Diagnostic) -> Diagnostic:
    why = shown(problem.detail).rstrip(".")
    detail = f"{part.what}: {why}. Without it the file would allow more than its source."
    return error("Restriction cannot be carried over", detail, part.span, problem.hint)


class _Ones(Mapping[str, str]):
    """Every variable is set, to what fits most fields: what a file means must not depend on who imports it."""

    def __getitem__(self, name: str) -> str:
        return "1"

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


# --- data --------------------------------------------------------------------------------------------------------


def _data(parts: list[Part]) -> tuple[dict[str, Any], Mapping[Path, Part]]:
    """The file as plain data, and which part said what."""
    data: dict[str, Any] = {}
    owners: dict[Path, Part] = {}
    for part in parts:
        *above, last = part.path
        place: Any = data
        for key in above:
            place = place.setdefault(key, {})
        if part.item:
            items = place.setdefault(last, [])
            owners[(*part.path, len(items))] = part
            items.append(part.value)
        elif part.value == {}:
            place.setdefault(last, {})
            owners.setdefault(part.path, part)
        else:
            place[last] = part.value
            owners[part.path] = part
    data.setdefault("sandboxes", {})
    return {key: data[key] for key in _ORDER if key in data}, owners


def _refused(
    problems: list[Diagnostic], document: Document | None, owners: Mapping[Path, Part]
) -> list[tuple[Part, Diagnostic]]:
    """The parts that are wrong, each with the first thing that is wrong with it. Nobody's problem is left out."""
    if document is None:
        return []
    found: dict[int, tuple[Part, Diagnostic]] = {}
    for problem in problems:
        path = _at(document.root, problem.span) if problem.span else ()
        part = next((owners[above] for above in _upward(path) if above in owners), None)
        if part is not None:
            found.setdefault(id(part), (part, problem))
    return list(found.values())


def _at(node: Node, span: Span) -> Path:
    """The path of the innermost thing at the beginning of a span."""
    place = (span.line, span.column)
    if isinstance(node, Table):
        for entry in node.entries:
            if (entry.key_span.line, entry.key_span.column) <= place < _end(entry.value.span, entry.key_span):
                return (entry.key, *_at(entry.value, span))
    elif isinstance(node, Sequence):
        for index, item in enumerate(node.items):
            if (item.span.line, item.span.column) <= place < _end(item.span):
                return (index, *_at(item, span))
    return ()


def _end(*these: Span) -> tuple[int, int]:
    return max((each.end_line, each.end_column) for each in these)


def _upward(path: Path) -> Iterator[Path]:
    for length in range(len(path), 0, -1):
        yield path[:length]


# --- text --------------------------------------------------------------------------------------------------------


def _text(data: Mapping[str, Any], notes: list[Note], title: str) -> str:
    lines = [f"# Made by `sbx import` of {shown(title)}. Read it, then see what it makes: `sbx plan`."]
    if notes:
        lines.append("#\n# Not carried over, or with less meaning:")
        lines += [f"#   {shown(str(note))}" for note in notes[:_NOTED]]
        lines += [f"#   and {len(notes) - _NOTED} more"] if len(notes) > _NOTED else []
    for key, value in data.items():
        comment = _COMMENTS.get(key)
        lines.append(f"\n# {comment}\n" if comment else "\n")
        lines[-1] += to_yaml({key: value}).rstrip("\n")
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"
