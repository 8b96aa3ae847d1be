"""Names in the store, and nothing of what is no index."""

import json

import pytest

from sandboxfile.host.layout import Layout
from sandboxfile.host.stored_secrets import stored_names


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path / "state", tmp_path / "cache", tmp_path / "run")


def test_the_names_of_the_index(layout):
    assert stored_names(layout) == frozenset()
    layout.secrets.mkdir(parents=True)
    index = {"version": 1, "secrets": {"anthropic": "keyring", "github": "file"}}
    (layout.secrets / "index.json").write_text(json.dumps(index))
    assert stored_names(layout) == {"anthropic", "github"}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"version": 2, "secrets": {"a": "file"}}', '{"version": 1, "secrets": ["a"]}', '{"version": 1}',
     '{"version": 1, "secrets": {"../a": "file", "A": "file"}}', "[" * 100_000],
)  # fmt: skip
def test_nothing_is_stored_where_the_index_is_not_understood(layout, text):
    layout.secrets.mkdir(parents=True)
    (layout.secrets / "index.json").write_text(text)
    assert stored_names(layout) == frozenset()
