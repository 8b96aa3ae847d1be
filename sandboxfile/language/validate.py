"""A Document to a file's meaning, with everything that is wrong with it, in the words of somebody who writes YAML.

pydantic finds what a value cannot be; here its findings get their place, and references between objects are checked.
What is wrong is cut out and the rest is validated again: the file that is given along with errors is that rest, good
for finding more problems (of paths, by `resolve`) and for nothing else.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from pydantic import ValidationError

from sandboxfile.diagnostics import Diagnostic, Diagnostics, error, has_errors, in_order
from sandboxfile.language.document import Document, parse
from sandboxfile.language.explain import explain, kind_of, place
from sandboxfile.language.policies import check_default_policy, check_policies
from sandboxfile.language.references import check_references
from sandboxfile.language.secrets import check_secrets
from sandboxfile.language.tree import Entry, Node, Scalar, Sequence, Table, spans
from sandboxfile.model.spec import Path, PolicyFile, SandboxFile
from sandboxfile.model.strict import WholeFile

_ROUNDS = 4  # of cutting out and validating again
_NAMED = tuple((field,) for field in ("templates", "policies", "secrets", "sandboxes"))  # keys there are names
_FINDINGS = 200  # nobody reads more, and each takes a walk through the tree


def load(
    text: str, filename: str, policies: Collection[str] = ()
) -> tuple[SandboxFile | None, Document | None, Diagnostics]:
    """Text to SandboxFile: parse and validate. With errors, the SandboxFile is what could be understood.

    `policies` are the names that the user's and the machine's files define.
    """
    document, problems = parse(text, filename)
    if document is None:
        return None, None, in_order(problems)
    file, more = validate(document, policies)
    return file, document, in_order((*problems, *more))


def load_policies(
    text: str, filename: str, policies: Collection[str] = (), *, may_choose: bool = False
) -> tuple[PolicyFile | None, Diagnostics]:
    """The same for the user's (who `may_choose` the default policy) or the machine's policy file."""
    hint = "begin with `policies:`"
    document, problems = parse(text, filename, hint)
    if document is None:
        return None, in_order(problems)
    file, root, found = _understood(document, PolicyFile, hint)
    more = [*problems, *found]
    if file is not None and root is not None:
        more += check_policies(file, root, policies)
        more += check_default_policy(file, may_choose)
        file.placed({}, whole=document.whole and not has_errors(more))
    return file, in_order(more)


def validate(document: Document, policies: Collection[str] = ()) -> tuple[SandboxFile | None, Diagnostics]:
    """The file's meaning and every problem of it. With errors, a SandboxFile is what could be understood."""
    file, root, problems = _understood(document, SandboxFile, "begin with `sandboxes:`")
    if file is not None and root is not None:
        problems += check_references(file, root)
        problems += check_policies(file, root, policies)
        problems += check_secrets(file, root)
        file.placed({}, whole=document.whole and not has_errors(problems))
    return file, in_order(problems)


def _understood[File: WholeFile](
    document: Document, model: type[File], hint: str
) -> tuple[File | None, Table | None, list[Diagnostic]]:
    """What the models say: the file without what is wrong, its whole tree, and what is wrong."""
    if not isinstance(document.root, Table):
        name = "A sandbox file" if model is SandboxFile else "A policy file"
        detail = f"{name} is a map; this is {kind_of(document.root)}."
        return None, None, [error("Wrong type", detail, document.root.span, hint)]
    problems: list[Diagnostic] = []
    root: Node = _cut(document.root, tuple(_interpolations(document.root, problems)))
    file: File | None = None
    for attempt in range(_ROUNDS):
        try:
            file = model.model_validate(_plain(root))
            break
        except ValidationError as exc:
            found = exc.errors(include_url=False)
        located = [(place(root, item["loc"]), item) for item in found[:_FINDINGS]]
        if attempt == 0:
            problems += [explain(model, root, path, item) for path, item in located]
        if len(found) > _FINDINGS:
            break
        root = _cut(root, tuple(path for path, _ in located))
    if file is not None:
        file.placed(spans(root), whole=True)
    return file, document.root, problems


# --- the tree as data --------------------------------------------------------------------------------------------


def _plain(node: Node) -> Any:
    if isinstance(node, Table):
        return {entry.key: _plain(entry.value) for entry in node.entries}
    if isinstance(node, Sequence):
        return tuple(_plain(item) for item in node.items)
    return node.value.replace("$$", "$") if isinstance(node.value, str) else node.value


def _interpolations(root: Table, problems: list[Diagnostic]) -> Iterator[Path]:
    """Values with `${`, which Compose users expect to be replaced. Not accepted and left as it is: refused."""
    for path, node in _scalars(root, ()):
        if isinstance(node.value, str) and "${" in node.value.replace("$$", ""):
            detail = "`${` begins an interpolation, and this version has none."
            hint = "write `$$` for a dollar sign; `env: {NAME: }` takes a variable from the environment of sbx"
            problems.append(error("Interpolation not supported", detail, node.span, hint))
            yield path


def _scalars(node: Node, path: Path) -> Iterator[tuple[Path, Scalar]]:
    if isinstance(node, Scalar):
        yield path, node
    elif isinstance(node, Sequence):
        for index, item in enumerate(node.items):
            yield from _scalars(item, (*path, index))
    else:
        for entry in node.entries:
            if not entry.key.startswith("x-") or path in _NAMED:
                yield from _scalars(entry.value, (*path, entry.key))


def _cut(node: Node, paths: Iterable[Path]) -> Node:
    """The tree without these parts. An item of a list goes as a whole: half a workspace is another workspace."""
    branches: dict[str | int, list[Path]] = {}
    for path in paths:
        if path:
            branches.setdefault(path[0], []).append(() if isinstance(path[0], int) else path[1:])
    if not branches or isinstance(node, Scalar):
        return node
    if isinstance(node, Sequence):
        items = (_cut_part(item, branches.get(index)) for index, item in enumerate(node.items))
        return Sequence(tuple(item for item in items if item is not None), node.span, node.size, node.depth)
    pairs = ((entry, _cut_part(entry.value, branches.get(entry.key))) for entry in node.entries)
    entries = tuple(Entry(entry.key, entry.key_span, value) for entry, value in pairs if value is not None)
    return Table(entries, node.span, node.size, node.depth)


def _cut_part(node: Node, below: list[Path] | None) -> Node | None:
    if below is None:
        return node
    return None if () in below else _cut(node, below)
