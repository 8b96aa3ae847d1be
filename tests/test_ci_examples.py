"""The CI examples are right as far as can be told here: their YAML, and every `sbx` in them to its last option."""

import re
import shlex
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from sandboxfile.cli.main import build_parser

EXAMPLES = sorted((Path(__file__).resolve().parents[1] / "examples/ci").glob("*.yml"))
_ENDS = re.compile(r"\|\|?|&&|;|>>?")


def scripts(value, above=""):
    """Every shell script in a workflow: what stands under `run` or `script`."""
    if isinstance(value, dict):
        return [found for key, below in value.items() for found in scripts(below, key)]
    if isinstance(value, list):
        return [found for below in value for found in scripts(below, above)]
    return [value] if above in ("run", "script") else []


def commands(path):
    """The arguments of every `sbx` in an example."""
    lines = [line.strip() for script in scripts(YAML(typ="safe").load(path.read_text())) for line in script.split("\n")]
    return [shlex.split(_ENDS.split(line)[0])[1:] for line in lines if line.startswith("sbx ")]


CASES = [(path.name, words) for path in EXAMPLES for words in commands(path)]


@pytest.mark.parametrize(
    ("name", "words"), CASES, ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_every_sbx_of_an_example_is_one_that_this_sbx_takes(name, words):
    assert build_parser().parse_args(words).run


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_validates_compares_and_applies_nothing_that_widens(path):
    found = commands(path)
    assert ["validate"] in found
    [apply] = [words for words in found if words[0] == "reconcile"]
    assert {"--once", "--frozen", "--deny-widening"} < set(apply)
    assert not [words for words in found if words[0] in ("up", "apply")], "a checkout that agents can write to"
    [compare] = [words for words in found if words[0] == "compare"]
    assert {"--deny-widening", "markdown"} < set(compare)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_nothing_that_others_choose_is_put_into_a_script(path):
    assert not [script for script in scripts(YAML(typ="safe").load(path.read_text())) if "${{" in script]
