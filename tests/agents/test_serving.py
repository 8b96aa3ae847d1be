"""Which service a secret is for."""

import pytest

from sandboxfile.agents.serving import service_for


@pytest.mark.parametrize(
    ("name", "variable", "service"),
    [
        ("anthropic", "", "anthropic"),
        ("anthropic", "OPENAI_API_KEY", "anthropic"),
        ("mine", "OPENAI_API_KEY", "openai"),
        ("mine", "GITHUB_TOKEN", "github"),
        ("mine", "TOKEN", None),
        ("mine", "", None),
    ],
)
def test_the_name_counts_before_the_variable(name, variable, service):
    found = service_for(name, variable)
    assert (found.name if found else None) == service
