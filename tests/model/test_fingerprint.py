"""Equal data has an equal name, other data another one, on every host and in every run."""

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxfile.model.fingerprint import fingerprint, short


@dataclass(frozen=True)
class Some:
    digest: str
    items: tuple[object, ...]


@dataclass(frozen=True)
class Here:
    value: int


@dataclass(frozen=True)
class There:
    value: int


def test_names_do_not_change_between_versions_of_this_program() -> None:
    """They name what is in the cache."""
    written = b'{"digest":"","items":["\xc3\xa4",1,null,true],"type":"Some"}'
    assert fingerprint(Some("", ("ä", 1, None, True))) == hashlib.sha256(written).hexdigest()


def test_another_process_with_another_order_of_sets_gives_the_same() -> None:
    program = (
        "from sandboxfile.model.fingerprint import fingerprint; print(fingerprint(frozenset(map(str, range(99)))))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert told == {fingerprint({str(number) for number in range(99)}) + "\n"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Here(1), There(1)),
        (Here(1), {"value": 1}),
        (1, "1"),
        (1, True),
        (None, "null"),
        ((), None),
        (("a", "b"), ("ab",)),
        (("a", ("b",)), (("a",), "b")),
        (("a", "b"), ("b", "a")),
        ({"a": "b"}, ("a", "b")),
    ],
)
def test_other_data_has_another_name(one: object, other: object) -> None:
    assert fingerprint(one) != fingerprint(other)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner).map(tuple) | st.dictionaries(st.text("ab"), inner),
    max_leaves=8,
)


@given(plain)
def test_order_of_keys_and_kind_of_sequence_do_not_matter(value: object) -> None:
    def other(value: object) -> object:
        if isinstance(value, dict):
            return {key: other(value[key]) for key in reversed(value)}
        return [other(item) for item in value] if isinstance(value, tuple) else value

    assert fingerprint(value) == fingerprint(other(value))


@given(plain, plain)
def test_names_are_equal_only_for_equal_data(one: object, other: object) -> None:
    assert (fingerprint(one) == fingerprint(other)) == (repr(one) == repr(other) or _same(one, other))


def _same(one: object, other: object) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return one == other


def test_what_has_no_one_spelling_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        fingerprint(float("nan"))


def test_the_short_name_is_its_beginning() -> None:
    assert fingerprint(1).startswith(short(fingerprint(1)))
    assert len(short(fingerprint(1))) == 12
