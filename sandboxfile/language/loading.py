"""The files of a project to one tree: those given, what they include, what their sandboxes extend.

    each file:  parse, interpolate, then what it `include`s beneath it
    all given:  merged, the later ones on top; then sandboxes upon what they extend; then the marks are gone

Paths in an included or extended file count from that file: here they become paths that count from the first file given,
as everything does later. Nothing is read here: a `Reader` is asked, and files are known by the path from the first
file's directory. Every problem points into the file that it is in.

Called by `pipeline`.
"""

import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sandboxfile.diagnostics import Diagnostic, Diagnostics, Span, error
from sandboxfile.language.document import NODE_LIMIT, Document, parse
from sandboxfile.language.explain import did_you_mean, kind_of
from sandboxfile.language.interpolate import interpolate
from sandboxfile.language.merge import TAGS, check_enforced, merge, settled
from sandboxfile.language.rebase import rebased
from sandboxfile.language.tree import Entry, Node, Scalar, Table, find, table_of
from sandboxfile.language.tree import Sequence as List

FILES_LIMIT = 64
EXTENDS_LIMIT = 64
# The text of a file by its path, which may begin with `~/`; or None, and in a clause why there is none.
Reader = Callable[[str], tuple[str | None, str]]
_Place = tuple[str, str]  # a file and a sandbox of it


@dataclass(frozen=True, slots=True)
class Text:
    """A file that was given: what it is called in messages, and what is in it."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Files:
    """What became of them: one document (None: the first is no YAML), with all problems but those of meaning.

    `sources` are the texts by name, `others` the paths of the files that were included or extended, there or not.
    """

    document: Document | None
    problems: Diagnostics
    sources: Mapping[str, str]
    others: tuple[str, ...]


def load_files(given: Sequence[Text], variables: Callable[[], Mapping[str, str]], read: Reader) -> Files:
    """One tree of the files given, at least one. `variables` is asked when the first file has need of them."""
    work = _Loading(posixpath.dirname(given[0].name), variables, read)
    trees = [
        work.parsed(item.name, item.text, "", (posixpath.normpath(posixpath.basename(item.name)),)) for item in given
    ]
    root = trees[0]
    for tree in trees[1:]:
        root = work.upon(root, tree)
    if root is None:
        return Files(None, tuple(work.problems), work.sources, tuple(work.others))
    root, misplaced = settled(work.extended(root, ""))
    problems = (*work.problems, *misplaced)
    document = Document(given[0].name, given[0].text, root, work.whole and not misplaced)
    return Files(document, problems, work.sources, tuple(work.others))


@dataclass(slots=True)
class _Loading:
    base: str
    variables: Callable[[], Mapping[str, str]]
    read: Reader
    problems: list[Diagnostic] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    others: dict[str, Node | None] = field(default_factory=dict)
    trees: dict[str, Mapping[str, Node]] = field(default_factory=dict)  # sandboxes by name, of each file that matters
    whole: bool = True

    def wrong(self, summary: str, detail: str, span: Span | None, hint: str | None = None) -> None:
        self.whole = False
        self.problems.append(error(summary, detail, span, hint))

    # --- one file

    def parsed(self, name: str, text: str, prefix: str, trail: tuple[str, ...]) -> Node | None:
        """The tree of a file with what it includes beneath; `prefix` is its directory, `trail` how we came to it."""
        self.sources[name] = text
        document, problems = parse(text, name, tags=TAGS)
        self.problems += problems
        if document is None:
            self.whole = False
            return None
        document, problems = interpolate(document, self.variables() if "${" in text else {})
        self.problems += problems
        self.whole = self.whole and document.whole
        if not isinstance(document.root, Table):
            detail = f"A sandbox file is a map; this is {kind_of(document.root)}."
            self.wrong("Wrong type", detail, document.root.span, "begin with `sandboxes:`")
            return None
        root, included = _without_include(document.root)
        beneath: Node | None = None
        for item in included:
            beneath = self.upon(beneath, self.included(item, prefix, trail))
        return self.upon(beneath, rebased(root, prefix))

    def included(self, item: Scalar, prefix: str, trail: tuple[str, ...]) -> Node | None:
        written = str(item.value)
        path = posixpath.normpath(written if written.startswith("~/") else posixpath.join(prefix, written))
        if path in trail:
            shown = " -> ".join(f"`{part}`" for part in (*trail[trail.index(path) :], path))
            self.wrong("Include cycle", f"A file cannot include itself: {shown}.", item.span, "remove one `include`")
            return None
        return self.other(path, item.span, trail)

    def other(self, path: str, span: Span, trail: tuple[str, ...]) -> Node | None:
        """The tree of a file that is named in another; read once."""
        if path in self.others:
            return self.others[path]
        self.others[path] = None
        if len(self.others) > FILES_LIMIT:
            self.wrong("Too many files", f"More than {FILES_LIMIT} files are included or extended.", span)
            return None
        name = path if path.startswith("~/") else posixpath.join(self.base, path)
        text, reason = self.read(name)
        if text is None:
            self.wrong(
                "File not readable", f"`{path}`: {reason}.", span, "correct the path; nothing is fetched from elsewhere"
            )
            return None
        self.others[path] = self.parsed(name, text, posixpath.dirname(path), (*trail, path))
        return self.others[path]

    # --- two files

    def upon(self, beneath: Node | None, above: Node | None) -> Node | None:
        if beneath is None or above is None:
            return above or beneath
        found = tuple(check_enforced(beneath, above))
        self.problems += found
        self.whole = self.whole and not found
        merged = merge(beneath, above)
        if merged.size > NODE_LIMIT:
            self.wrong("File too long", f"With its files the project has more than {NODE_LIMIT} parts.", above.span)
            return beneath
        return merged

    # --- sandboxes

    def extended(self, root: Node, path: str) -> Node:
        """The tree with every sandbox upon what it extends."""
        sandboxes = find(root, ("sandboxes",))
        if sandboxes is None or not isinstance(root, Table) or not isinstance(sandboxes[0], Table):
            return root
        table = sandboxes[0]
        done: dict[_Place, Node] = {}
        self.trees[path] = _sandboxes(root)
        entries, size = [], 0
        for entry in table.entries:
            value = self.sandbox((path, entry.key), (), done) if _extends(entry.value) else entry.value
            size += value.size
            if size > NODE_LIMIT:
                self.wrong(
                    "File too long",
                    f"With what they extend, sandboxes have more than {NODE_LIMIT} parts.",
                    entry.key_span,
                )
                return root
            entries.append(entry.with_value(value))
        whole = table_of(tuple(entries), table.span, table.tag)
        return replace(root, entries=tuple(e.with_value(whole) if e.key == "sandboxes" else e for e in root.entries))

    def sandbox(self, place: _Place, trail: tuple[_Place, ...], done: dict[_Place, Node]) -> Node:
        """One sandbox of a file in `trees` that has it."""
        if place in done:
            return done[place]
        own = self.trees[place[0]][place[1]]
        extends = _extends(own)
        if extends is None or not isinstance(own, Table):
            return own
        rest = table_of(tuple(entry for entry in own.entries if entry.key != "extends"), own.span, own.tag)
        file, name = _named(extends.value)
        above = (*trail, place)
        target = (posixpath.normpath(file) if file else place[0], name)
        span = extends.value.span
        if target in above:
            shown = " -> ".join(f"`{each[1]}`" for each in (*above[above.index(target) :], target))
            self.wrong("Extends cycle", f"A sandbox cannot extend itself: {shown}.", span, "remove one `extends`")
        elif len(above) > EXTENDS_LIMIT:
            self.wrong("Nested too deeply", f"`{place[1]}` is extended more than {EXTENDS_LIMIT} deep.", span)
        elif self._has(target, file, span, place[0]):
            done[place] = merge(self.sandbox(target, above, done), rest, ("sandboxes", place[1]))
        return done.get(place, rest)

    def _has(self, target: _Place, file: str, span: Span, here: str) -> bool:
        """Whether the file is there, and has the sandbox; if it has not, that is said."""
        if target[0] not in self.trees:
            tree = self.other(target[0], span, (here,))
            if tree is None:
                return False
            self.trees[target[0]] = _sandboxes(tree)
        names = self.trees[target[0]]
        if target[1] in names:
            return True
        where = f" in `{file}`" if file else ""
        hint = did_you_mean(target[1], names) or (f"the sandboxes are {', '.join(names)}" if names else None)
        self.wrong("Unknown sandbox", f"There is no sandbox `{target[1]}`{where}.", span, hint)
        return False


def _sandboxes(root: Node) -> Mapping[str, Node]:
    found = find(root, ("sandboxes",))
    return {entry.key: entry.value for entry in found[0].entries} if found and isinstance(found[0], Table) else {}


def _without_include(root: Node) -> tuple[Node, tuple[Scalar, ...]]:
    """The tree, and the files that it includes. What is not a list of text is left, for `validate` to refuse."""
    found = find(root, ("include",))
    items = found[0].items if found and isinstance(found[0], List) and not found[0].tag else ()
    texts = tuple(item for item in items if isinstance(item, Scalar) and isinstance(item.value, str) and item.value)
    if not isinstance(root, Table) or not items or len(texts) != len(items):
        return root, ()
    return table_of(tuple(entry for entry in root.entries if entry.key != "include"), root.span, root.tag), texts


def _extends(sandbox: Node) -> Entry | None:
    """What a sandbox says that it extends, in a form that `_named` knows; others are for `validate` to refuse."""
    entry = sandbox.entry("extends") if isinstance(sandbox, Table) else None
    return entry if entry is not None and _named(entry.value)[1] else None


def _named(value: Node) -> tuple[str, str]:
    """The file (empty: this one) and the name that an `extends` gives; no name when it has another form."""
    if isinstance(value, Scalar):
        return "", value.value if isinstance(value.value, str) and not value.tag else ""
    if not isinstance(value, Table) or value.tag or {entry.key for entry in value.entries} - {"file", "sandbox"}:
        return "", ""
    texts = {entry.key: entry.value.value for entry in value.entries if isinstance(entry.value, Scalar)}
    file, name = texts.get("file", ""), texts.get("sandbox", "")
    right = isinstance(file, str) and isinstance(name, str) and len(texts) == len(value.entries)
    return (str(file), str(name)) if right else ("", "")
