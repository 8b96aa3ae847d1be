"""The JSON Schema of sandbox.yaml, for editors. Generated from the models; `sbx schema` prints it.

It says what JSON Schema can say, of the text as it is written: where a variable may bring the value, `${...}` is
accepted. References, paths and what lies between two fields remain with `validate` and
`resolve`: what they accept, the schema accepts.
"""

import json
from typing import Any

from sandboxfile.model.spec import SandboxFile


def json_schema() -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) as plain data, the same for the same version of sandboxfile."""
    schema = _or_variables(_tidy(SandboxFile.model_json_schema()))
    assert isinstance(schema, dict)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "sandbox.yaml",
        **{key: value for key, value in schema.items() if key != "title"},
        "description": "Sandboxes for AI agents, their templates and workspaces.",
    }


_VARIABLE = {"type": "string", "pattern": r"\$\{"}
_ALTERNATIVES = ("anyOf", "oneOf")
_NAMED_PARTS = ("properties", "patternProperties", "$defs")  # schemas by name; other keys hold one, or none


def schema_text() -> str:
    """The schema as it stands in `schemas/sandbox.schema.json`."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _tidy(value: Any) -> Any:
    """Without pydantic's made-up titles and without defaults that mean "not given"; names only where a name fits."""
    if isinstance(value, list):
        return [_tidy(item) for item in value]
    if not isinstance(value, dict):
        return value
    # Under "properties" the keys are fields of the language, a field called `title` included.
    kept = {
        key: {name: _tidy(item) for name, item in part.items()} if key in ("properties", "$defs") else _tidy(part)
        for key, part in value.items()
        if key != "title" and not (key == "default" and part in ("", [], None))
    }
    if "patternProperties" in kept and "additionalProperties" not in kept:
        kept["additionalProperties"] = False
    return kept


def _or_variables(schema: Any) -> Any:
    """A schema that takes `${...}` for whatever a value may be restricted to; keys (`propertyNames`) are as written."""
    if not isinstance(schema, dict):
        return schema
    kind = next((name for name in _ALTERNATIVES if name in schema), None)
    if _is_restricted(schema):
        around = {key: schema[key] for key in ("description", "default") if key in schema}
        return {"anyOf": [{key: part for key, part in schema.items() if key not in around}, _VARIABLE], **around}
    result = {key: _part_or_variables(key, part) for key, part in schema.items() if key != kind}
    if kind is not None:
        members = schema[kind]
        open_to_text = any(_is_restricted(member) for member in members)
        whole = [member if _is_restricted(member) else _or_variables(member) for member in members]
        # Not `oneOf` any more: a variable is a text as well.
        result = {"anyOf": [*whole, _VARIABLE], **result} if open_to_text else {kind: whole, **result}
    return result


def _part_or_variables(key: str, part: Any) -> Any:
    if key in _NAMED_PARTS:
        return {name: _or_variables(item) for name, item in part.items()}
    return _or_variables(part) if key in ("items", "additionalProperties") else part


def _is_restricted(schema: Any) -> bool:
    """Whether it takes values, but not every text."""
    if schema.get("type") in ("integer", "number", "boolean"):
        return True
    return schema.get("type") == "string" and any(key in schema for key in ("pattern", "enum", "const", "maxLength"))
