"""What pydantic found wrong, as diagnostics: at its place in the tree, in the words of YAML, with a hint.

Called by `language.validate` only. What may stand at a place is read from the models themselves.
"""

import difflib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from sandboxfile.diagnostics import Diagnostic, Span, error
from sandboxfile.language.tree import Node, Scalar, Sequence, Table, find
from sandboxfile.model.spec import Path

# What a Compose user types, by what it is called here.
_COMPOSE_NAMES = {
    "services": "sandboxes",
    "environment": "env",
    "image": "template",
    "entrypoint": "command",
    "replicas": "scale",
    "test": "command",
    "mounts": "workspaces",
    "network_mode": "policy",
    "networks": "policy",
    "deny": "block",
}
FORM_MARKS = ("<text>", "<list>", "<map>")  # parts of pydantic's places that are none of the file's
_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "size_type": "a size",
    "date_type": "a date",
    "bool_type": "true or false",
    "dict_type": "a map",
    "model_type": "a map",
    "model_attributes_type": "a map",
    "tuple_type": "a list",
}


def place(root: Node, loc: tuple[str | int, ...]) -> Path:
    """The path in the file: without the marks for a field's form. Of something missing, the path of what lacks it."""
    path: Path = ()
    for part in loc:
        if part in (*FORM_MARKS, "[key]") and find(root, (*path, part)) is None:
            continue
        if find(root, (*path, part)) is None:
            break
        path = (*path, part)
    return path


def explain(language: type[BaseModel], root: Node, path: Path, item: ErrorDetails) -> Diagnostic:
    """One finding, about the part at `path`; `language` is the model of the whole file."""
    found = find(root, path)
    assert found is not None, "a path of `place` is in the tree"
    node, key = found
    at_key = key or _first(node.span)
    match item["type"]:
        case "problem":
            parts = item["ctx"]
            span = at_key if item["loc"][-1] == "[key]" else node.span
            return error(parts["summary"], parts["detail"], span, parts["hint"])
        case "extra_forbidden":
            return _unknown_field(language, path, at_key)
        case "missing":
            detail = f"{_owner(language, path).capitalize()} needs the field `{item['loc'][-1]}`."
            return error("Missing field", detail, at_key)
        case "literal_error":
            return _unsupported_value(language, path, node)
        case "form":
            return _wrong_type(path, node, _expected_forms(language, item), at_key)
        case "greater_than_equal":
            return _wrong_type(path, node, f"a number from {item['ctx']['ge']}", at_key)
        case "less_than_equal":
            return _wrong_type(path, node, f"a number up to {item['ctx']['le']}", at_key)
        case kind:
            return _wrong_type(path, node, _EXPECTED.get(kind, item["msg"]), at_key)


def _wrong_type(path: Path, node: Node, expected: str, at_key: Span) -> Diagnostic:
    empty = isinstance(node, Scalar) and node.value is None
    detail = f"{_label(path)}: expected {expected}, found {kind_of(node)}."
    span = at_key if empty or not isinstance(node, Scalar) else node.span
    return error("Wrong type", detail, span, _type_hint(node, expected))


def _type_hint(node: Node, expected: str) -> str | None:
    if isinstance(node, Scalar) and node.value is None:
        if node.span.end_line == node.span.line and node.span.end_column == node.span.column + 1:
            return "an unquoted `~` is YAML's word for nothing; write it in quotes"
        return "write {} for an empty one" if expected == "a map" else "give it a value, or remove the field"
    if isinstance(node, Scalar) and isinstance(node.value, str):
        if expected == "a list":
            return "write it as a list: [...]"
        return "remove the quotes" if expected == "a whole number" and node.value.isdecimal() else None
    if isinstance(node, Scalar) and "text" in expected:
        return "write it in quotes"
    if isinstance(node, Table) and "text" in expected and len(node.entries) == 1:
        return "quote the text: a colon followed by a space makes it a map"
    return None


def _unsupported_value(language: type[BaseModel], path: Path, node: Node) -> Diagnostic:
    field = _model_field(language, path)
    choices = [str(choice) for choice in get_args(field)]
    shown = f"`{node.value}`" if isinstance(node, Scalar) and isinstance(node.value, str) else kind_of(node)
    detail = f"{_label(path)}: expected one of {', '.join(choices)}, found {shown}."
    text = str(node.value) if isinstance(node, Scalar) else ""
    return error("Unsupported value", detail, node.span, did_you_mean(text, choices))


def _unknown_field(language: type[BaseModel], path: Path, span: Span) -> Diagnostic:
    name = str(path[-1])
    model = _first_model(_model_field(language, path[:-1]))
    fields = list(model.model_fields) if model is not None else []
    known = {compose: ours for compose, ours in _COMPOSE_NAMES.items() if ours in fields}
    close = difflib.get_close_matches(name.lower(), [*fields, *known], n=1)
    hint = f"did you mean `{known.get(close[0], close[0])}`?" if close else _deeper(model, name)
    return error("Unknown field", f"`{name}` is not a field of {_owner(language, path[:-1])}.", span, hint)


def _deeper(model: type[BaseModel] | None, name: str) -> str | None:
    """A hint when a field of that name is one level further down: `memory` of a sandbox is in its `resources`."""
    for field, hint in typing.get_type_hints(model).items() if model is not None else ():
        inner = _first_model(hint)
        if inner is not None and name in inner.model_fields:
            return f"it belongs under `{field}`: `{field}: {{{name}: ...}}`"
    return None


def did_you_mean(name: str, candidates: Iterable[str]) -> str | None:
    close = difflib.get_close_matches(name.lower(), sorted(candidates), n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`?" if close else None


def kind_of(node: Node) -> str:
    if isinstance(node, Table):
        return "a map"
    if isinstance(node, Sequence):
        return "a list"
    value = node.value
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "text" if isinstance(value, str) else f"the number {getattr(value, 'text', value)}"


def _expected_forms(language: type[BaseModel], item: ErrorDetails) -> str:
    field = _model_field(language, tuple(part for part in item["loc"] if part not in FORM_MARKS))
    forms = [str(tag)[1:-1] for tag in _tags(field)]
    return " or ".join({"text": "text", "list": "a list", "map": "a map"}[form] for form in forms)


def _tags(hint: Any) -> Iterator[str]:
    for part in get_args(hint):
        if get_origin(part) is Annotated:
            yield from (meta.tag for meta in part.__metadata__ if hasattr(meta, "tag"))
        if get_origin(part) in (types.UnionType, typing.Union):
            yield from _tags(part)


# --- what the models say of a place ------------------------------------------------------------------------------


def _model_field(language: type[BaseModel], path: Path) -> Any:
    """The type that the language has at a path: a model, a Literal, a union of forms."""
    hint: Any = language
    for part in path:
        model = _first_model(hint)
        if isinstance(part, str) and model is not None and part in model.model_fields:
            hint = typing.get_type_hints(model, include_extras=True)[part]
        elif isinstance(part, str):
            hint = _argument(hint, dict)
        else:
            hint = _argument(hint, tuple)
    return (
        hint
        if get_origin(hint) in (Annotated, typing.Literal) and _tags_or_literal(hint)
        else _first_model(hint) or hint
    )


def _tags_or_literal(hint: Any) -> bool:
    return get_origin(hint) is typing.Literal or any(True for _ in _tags(hint))


def _alternatives(hint: Any) -> Iterator[Any]:
    """The types in a hint, through Annotated and unions."""
    if get_origin(hint) is Annotated:
        yield from _alternatives(get_args(hint)[0])
    elif get_origin(hint) in (types.UnionType, typing.Union):
        for part in get_args(hint):
            yield from _alternatives(part)
    else:
        yield hint


def _first_model(hint: Any) -> type[BaseModel] | None:
    return next((part for part in _alternatives(hint) if isinstance(part, type) and issubclass(part, BaseModel)), None)


def _argument(hint: Any, kind: type) -> Any:
    """What a dict or a tuple in the hint holds."""
    for part in _alternatives(hint):
        if get_origin(part) is kind:
            return get_args(part)[1] if kind is dict else get_args(part)[0]
    return None


_OWNERS: Mapping[str, str] = {
    "SandboxFile": "the file",
    "Sandbox": "a sandbox",
    "Template": "a template",
    "Build": "a build",
    "PlacedFileSpec": "a file",
    "RunSpec": "a command of `run`",
    "Workspace": "a workspace",
    "ExtendsSpec": "`extends`",
    "Resources": "resources",
    "Packages": "packages",
    "PolicyFile": "a policy file",
    "PolicySpec": "a policy",
    "RuleSpec": "a rule",
    "TestsSpec": "tests",
    "Secret": "a secret",
    "InjectSpec": "an injection",
    "PortSpec": "a port",
    "GitSpec": "an identity",
    "HealthcheckSpec": "a healthcheck",
    "DependencySpec": "a dependency",
    "VolumeSpec": "a volume",
    "MountSpec": "a volume of a sandbox",
}


def _owner(language: type[BaseModel], path: Path) -> str:
    model = _first_model(_model_field(language, path))
    return _OWNERS[model.__name__] if model is not None else _label(path)


def _label(path: Path) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return f"`{text}`"


def _first(span: Span) -> Span:
    return Span(span.file, span.line, span.column, span.line, span.column + 1)
