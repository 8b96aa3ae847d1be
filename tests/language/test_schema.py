"""The JSON Schema is current, accepts what the language accepts, and refuses what it can. SBX_UPDATE=1 rewrites it."""

import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from sandboxfile.host.project_files import read_named
from sandboxfile.language.document import decode, parse
from sandboxfile.language.loading import Text, load_files
from sandboxfile.language.schema import json_schema, schema_text
from sandboxfile.language.tree import Node, Sequence, Table
from sandboxfile.language.validate import load_project

REPOSITORY = Path(__file__).parents[2]
SCHEMA = REPOSITORY / "schemas" / "sandbox.schema.json"
GOLDEN = Path(__file__).parent / "golden"
EXAMPLES = [*sorted((REPOSITORY / "examples").glob("*/sandbox.y*ml")), *sorted(GOLDEN.glob("valid*/sandbox.yaml"))]
REFUSED = [
    "unknown_field", "wrong_type", "not_a_map", "text_only", "missing_sandboxes", "invalid_name", "unsupported_value",
    "invalid_env", "invalid_package", "invalid_size", "invalid_workspace", "invalid_command",
    "policy_fields", "template_fields", "secret_sources", "secret_bindings", "agent_unknown",
    "ports_wrong", "git_identity",
]  # fmt: skip


def data(path: Path) -> Any:
    text, _ = decode(path.read_bytes(), path.name)
    assert text is not None
    document, _ = parse(text, path.name)
    assert document is not None
    return _plain(document.root)


def _plain(node: Node) -> Any:
    if isinstance(node, Table):
        return {entry.key: _plain(entry.value) for entry in node.entries}
    return [_plain(item) for item in node.items] if isinstance(node, Sequence) else node.value


def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json_schema())


def test_schema_file_is_current() -> None:
    if os.environ.get("SBX_UPDATE"):
        SCHEMA.write_text(schema_text())
    assert SCHEMA.read_text() == schema_text(), "run the test with SBX_UPDATE=1, or `sbx schema`"


def test_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_examples_are_valid_for_schema_and_language(path: Path) -> None:
    validator().validate(data(path))
    files = load_files([Text(path.name, path.read_text())], dict, lambda name: read_named(str(path.parent / name)))
    assert load_project(files)[1] == ()


def test_a_variable_may_stand_for_every_value() -> None:
    text = """
include: ["${TEAM}.yaml"]
defaults: {protect: "${PROTECT}", restart: "${RESTART:-no}", agent: "${AGENT}"}
policies: {dev: {mode: "${MODE}", allow: ["${HOST}", {host: "${HOST}", port: "${PORT}"}]}}
sandboxes:
  web:
    resources: {cpus: "${CPUS}", memory: "${MEMORY}"}
    workspaces: ["${DIRECTORY}", {source: "${DIRECTORY}", mode: "${MODE}"}]
    ports: ["${PORT}:80", {host: "${PORT}", guest: 80}]
    git: "${GIT}"
    policy: dev
"""
    document, _ = parse(text, "f")
    assert document is not None
    validator().validate(_plain(document.root))
    wrong, _ = parse(text.replace("${CPUS}", "$CPUS"), "f")
    assert wrong is not None
    assert list(validator().iter_errors(_plain(wrong.root)))


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_files_are_refused_by_the_schema_too(case: str) -> None:
    assert list(validator().iter_errors(data(GOLDEN / case / "sandbox.yaml")))


def test_every_field_has_a_description() -> None:
    schema = json_schema()
    for model in (schema, *schema["$defs"].values()):
        assert all("description" in field for field in model["properties"].values())
