"""Models of the language."""

import pytest
from pydantic import ValidationError

from sandboxfile.model.builtin import BUILTIN_TEMPLATES, DEFAULT_TEMPLATE
from sandboxfile.model.spec import DEBIAN_SUITES, Workspace


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
    assert DEFAULT_TEMPLATE in BUILTIN_TEMPLATES
    for template in BUILTIN_TEMPLATES.values():
        assert template.base.removeprefix("debian:") in DEBIAN_SUITES
        assert {"sudo", "mount"} <= set(template.packages.apt)
