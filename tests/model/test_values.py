"""Values of the language that have a grammar of their own."""

import pytest

from sandboxfile.model.values import parse_size


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
