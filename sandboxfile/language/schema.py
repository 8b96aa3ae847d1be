"""The JSON Schema of sandbox.yaml, for editors. Generated from the models; `sbx schema` prints it.

It says what JSON Schema can say. References, paths and what lies between two fields remain with `validate` and
`resolve`: what they accept, the schema accepts.
"""

import json
from typing import Any

from sandboxfile.model.spec import SandboxFile


def json_schema() -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) as plain data, the same for the same version of sandboxfile."""
    schema = _tidy(SandboxFile.model_json_schema())
    assert isinstance(schema, dict)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "sandbox.yaml",
        **{key: value for key, value in schema.items() if key != "title"},
        "description": "Sandboxes for AI agents, their templates and workspaces.",
    }


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
