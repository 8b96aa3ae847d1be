"""The built-in templates are complete and stand on their own."""

import pytest

from sandboxfile.agents import builtin
from sandboxfile.agents.builtin import BUILTIN_TEMPLATES, DEFAULT_TEMPLATE
from sandboxfile.model.spec import Template


@pytest.mark.parametrize("name", BUILTIN_TEMPLATES)
def test_a_builtin_template_is_one_that_a_file_could_hold(name):
    """They are made without a file: nothing else checks their packages."""
    template = BUILTIN_TEMPLATES[name]
    assert Template.model_validate(template.model_dump(exclude_unset=True)) == template


@pytest.mark.parametrize("name", BUILTIN_TEMPLATES)
def test_a_builtin_template_is_made_of_debian_and_nothing_of_this_host(name):
    seen = set()
    while name in BUILTIN_TEMPLATES:
        assert name not in seen
        seen.add(name)
        assert not BUILTIN_TEMPLATES[name].files
        assert BUILTIN_TEMPLATES[name].user == "agent"
        name = BUILTIN_TEMPLATES[name].base
    assert name.startswith("debian:")


def test_the_default_is_the_small_one():
    assert DEFAULT_TEMPLATE in BUILTIN_TEMPLATES
    assert not BUILTIN_TEMPLATES[DEFAULT_TEMPLATE].docker
    assert BUILTIN_TEMPLATES["base"].docker


def test_an_agents_template_is_read_when_it_is_asked_for(monkeypatch):
    read = []
    monkeypatch.setattr(builtin, "agent_template", lambda name: read.append(name) or BUILTIN_TEMPLATES["base"])
    builtin._template.cache_clear()
    try:
        assert "claude" in BUILTIN_TEMPLATES
        assert "nobody" not in BUILTIN_TEMPLATES
        assert len(list(BUILTIN_TEMPLATES)) == len(BUILTIN_TEMPLATES) == len(set(BUILTIN_TEMPLATES))
        assert BUILTIN_TEMPLATES.get("nobody") is None
        assert read == []
        assert BUILTIN_TEMPLATES["claude"] is BUILTIN_TEMPLATES["claude"]
        assert read == ["claude"]
    finally:
        builtin._template.cache_clear()
