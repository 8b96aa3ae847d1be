"""Scalars of the language that have a grammar of their own."""

import pytest
from pydantic import ValidationError

from sandboxfile.model.builtin import BUILTIN_TEMPLATES, DEFAULT_TEMPLATE
from sandboxfile.model.spec import DEBIAN_SUITES, Workspace, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2GiB", 2 << 30), ("2gb", 2 << 30), ("2g", 2 << 30), ("512MB", 512 << 20), ("512m", 512 << 20),
        ("64k", 64 << 10),
        ("1.5G", 3 << 29), ("100", 100), ("100b", 100), ("1 TiB", 1 << 40), (100, 100), ("0.1k", 102),
    ],
)  # fmt: skip
def test_sizes_are_composes_byte_values(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "g", "-1g", "1x", "1 g b", "1e3", "\uff11g", "1..5g", "1g\n", "0x10", "9" * 30])
def test_other_text_is_no_size(text: str) -> None:
    assert parse_size(text) is None


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
