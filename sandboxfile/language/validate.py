"""A Document to a file's meaning, with everything that is wrong with it, in the words of somebody who writes YAML.

pydantic finds what a value cannot be; here its findings get their place, and references between objects are checked.
What is wrong is cut out and the rest is validated again: the file that is given along with errors is that rest, good
for finding more problems (of paths, by `resolve`) and for nothing else.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sandboxfile.diagnostics import Diagnostic, Diagnostics, error, has_errors, in_order
from sandboxfile.language.dependencies import check_dependencies
from sandboxfile.language.document import Document, parse
from sandboxfile.language.explain import FORM_MARKS, explain, kind_of, place
from sandboxfile.language.health import check_healthchecks
from sandboxfile.language.interpolate import refuse, scalars
from sandboxfile.language.loading import Files, Text, load_files
from sandboxfile.language.policies import check_default_policy, check_policies
from sandboxfile.language.references import check_references
from sandboxfile.language.scalars import plain_value
from sandboxfile.language.secrets import check_secrets
from sandboxfile.language.tree import Node, Scalar, Sequence, Table, cut, spans, with_values
from sandboxfile.language.volumes import check_volumes
from sandboxfile.model.spec import Path, PolicyFile, SandboxFile
from sandboxfile.model.strict import WholeFile

_ROUNDS = 4  # of cutting out and validating again
_FINDINGS = 200  # nobody reads more, and each takes a walk through the tree
_CASTS: Mapping[str, type] = {"int_type": int, "bool_type": bool}  # by what pydantic says is missing


def load(
    text: str, filename: str, policies: Collection[str] = (), variables: Mapping[str, str] | None = None
) -> tuple[SandboxFile | None, Document | None, Diagnostics]:
    """Text to SandboxFile: parse, interpolate and validate a file that stands alone.

    As `load_project`, with one file, and none to include.
    """
    set_ones = {} if variables is None else variables  # not `or`: a mapping may answer and say that it is empty
    given = load_files([Text(filename, text)], lambda: set_ones, lambda _: (None, "this text stands alone"))
    file, problems = load_project(given, policies)
    return file, given.document, problems


def load_project(files: Files, policies: Collection[str] = ()) -> tuple[SandboxFile | None, Diagnostics]:
    """What the files of a project mean. With errors, the SandboxFile is what could be understood.

    `policies` are the names that the user's and the machine's files define.
    """
    if files.document is None:
        return None, in_order(files.problems)
    file, more = validate(files.document, policies)
    return file, in_order((*files.problems, *more))


def load_policies(
    text: str, filename: str, policies: Collection[str] = (), *, may_choose: bool = False
) -> tuple[PolicyFile | None, Diagnostics]:
    """The same for the user's (who `may_choose` the default policy) or the machine's policy file."""
    hint = "begin with `policies:`"
    document, problems = parse(text, filename, hint)
    if document is None:
        return None, in_order(problems)
    document, refused = refuse(document)
    file, root, found = _understood(document, PolicyFile, hint)
    more = [*problems, *refused, *found]
    if file is not None and root is not None:
        more += check_policies(file, root, policies)
        more += check_default_policy(file, may_choose)
        file.placed({}, whole=document.whole and not has_errors(more))
    return file, in_order(more)


def validate(document: Document, policies: Collection[str] = ()) -> tuple[SandboxFile | None, Diagnostics]:
    """What an interpolated file means, and every problem of it. With errors: what could be understood."""
    file, root, problems = _understood(document, SandboxFile, "begin with `sandboxes:`")
    if file is not None and root is not None:
        problems += check_references(file, root)
        problems += check_healthchecks(file, root)
        problems += check_dependencies(file, root)
        problems += check_volumes(file, root)
        problems += _check_extends(file)
        problems += check_policies(file, root, policies)
        problems += check_secrets(file, root)
        file.placed({}, whole=document.whole and not has_errors(problems))
    return file, in_order(problems)


def _check_extends(file: SandboxFile) -> Iterator[Diagnostic]:
    if "extends" in file.defaults.model_fields_set:
        detail = "`defaults` lie beneath every sandbox, and extend none."
        yield error("Field not applicable", detail, file.span("defaults", "extends"), "a sandbox may have `extends`")


def _understood[File: WholeFile](
    document: Document, model: type[File], hint: str
) -> tuple[File | None, Table | None, list[Diagnostic]]:
    """What the models say: the file without what is wrong, its whole tree, and what is wrong."""
    if not isinstance(document.root, Table):
        name = "A sandbox file" if model is SandboxFile else "A policy file"
        detail = f"{name} is a map; this is {kind_of(document.root)}."
        return None, None, [error("Wrong type", detail, document.root.span, hint)]
    problems: list[Diagnostic] = []
    root: Node = document.root
    file: File | None = None
    for attempt in range(_ROUNDS):
        try:
            file, root = _cast_and_validated(root, model)
            break
        except _Findings as exc:
            found, root = exc.found, exc.root
        located = [(place(root, item["loc"]), item) for item in found[:_FINDINGS]]
        if attempt == 0:
            problems += [explain(model, root, path, item) for path, item in located]
        if len(found) > _FINDINGS:
            break
        root = cut(root, tuple(path for path, _ in located))
    if file is not None:
        file.placed(spans(root), whole=True)
    return file, document.root, problems


class _Findings(Exception):
    """What pydantic does not like about a tree."""

    def __init__(self, found: list[ErrorDetails], root: Node) -> None:
        super().__init__(f"{len(found)} findings")
        self.found, self.root = found, root


def _cast_and_validated[File: WholeFile](root: Node, model: type[File]) -> tuple[File, Node]:
    """The file, and its tree with what variables brought as text cast to what the fields are (`cpus: ${CPUS}`).

    Raises _Findings. Ends: whatever is cast is no text afterwards.
    """
    while True:
        try:
            return model.model_validate(_plain(root)), root
        except ValidationError as exc:
            found = exc.errors(include_url=False)
        cast = dict(_casts(root, found))
        if not cast:
            raise _Findings(found, root)
        root = with_values(root, cast)


def _casts(root: Node, found: list[ErrorDetails]) -> Iterator[tuple[Path, Scalar]]:
    """Those among the findings that a cast mends, each as what it becomes."""
    wanted = {item["loc"]: _CASTS[item["type"]] for item in found if item["type"] in _CASTS}
    brought = {path: node for path, node in scalars(root, ()) if node.interpolated} if wanted else {}
    for loc, kind in wanted.items():
        path = tuple(part for part in loc if part not in FORM_MARKS)
        node = brought.get(path)
        value = plain_value(node.value) if node is not None and isinstance(node.value, str) else None
        if node is not None and isinstance(value, kind) and isinstance(value, bool) == (kind is bool):
            yield path, Scalar(value, node.span, node.tag)


# --- the tree as data --------------------------------------------------------------------------------------------


def _plain(node: Node) -> Any:
    if isinstance(node, Table):
        return {entry.key: _plain(entry.value) for entry in node.entries}
    if isinstance(node, Sequence):
        return tuple(_plain(item) for item in node.items)
    return node.value
