"""Models of the language."""

import datetime

import pytest
from pydantic import ValidationError

from sandboxfile.model.builtin import BUILTIN_TEMPLATES, DEFAULT_TEMPLATE
from sandboxfile.model.spec import DEBIAN_SUITES, PolicySpec, RuleSpec, Workspace


def test_a_model_refuses_what_it_does_not_know_and_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Workspace.model_validate({"source": ".", "read_only": True})
    workspace = Workspace.model_validate({"source": ".", "x-note": 1})
    with pytest.raises(ValidationError):
        workspace.mode = "ro"


def test_protected_paths_are_normalised() -> None:
    workspace = Workspace.model_validate({"source": ".", "protect": ("./a//b/", "c")})
    assert workspace.protect == ("a/b", "c")


def test_built_in_templates_stand_on_debian() -> None:
    default = BUILTIN_TEMPLATES[DEFAULT_TEMPLATE]
    assert default.base.removeprefix("debian:") in DEBIAN_SUITES
    assert {"sudo", "mount"} <= set(default.packages.apt)
    assert {template.base for template in BUILTIN_TEMPLATES.values()} == {default.base, DEFAULT_TEMPLATE}


@pytest.mark.parametrize(
    ("rule", "pattern"),
    [
        ("api.example.com:443", "api.example.com:443"),
        ("203.0.113.0/24", "203.0.113.0/24"),
        ({"host": "api.example.com", "port": 443}, "api.example.com:443"),
        ({"host": "2001:db8::1", "port": 443}, "[2001:db8::1]:443"),
        ({"host": "[2001:db8::1]", "port": 443}, "[2001:db8::1]:443"),
        ({"cidr": "2001:db8::/32"}, "2001:db8::/32"),
        ({"preset": "npm"}, ""),
    ],
)
def test_every_form_of_a_rule_has_one_pattern(rule, pattern):
    assert PolicySpec.model_validate({"allow": (rule,)}).allow[0].pattern == pattern


@pytest.mark.parametrize("written", ["2027-01-31", datetime.date(2027, 1, 31), datetime.datetime(2027, 1, 31, 12)])
def test_a_date_is_a_date_whatever_the_loader_makes_of_it(written):
    assert RuleSpec.model_validate({"host": "a", "until": written}).until == "2027-01-31"


@pytest.mark.parametrize(
    "written", ["20270131", "2027-1-31", "2027-02-30", "2027-W05-1", "", "2027-01-31\n", 2027, None]
)
def test_nothing_else_is_a_date(written):
    with pytest.raises(ValidationError):
        RuleSpec.model_validate({"host": "a", "until": written})
