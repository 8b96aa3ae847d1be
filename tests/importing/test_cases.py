"""What becomes of sources of every kind. A case is a directory; SBX_UPDATE=1 rewrites what is expected.

`source` is imported as if it lay in /home/ada/shop (a devcontainer in /home/ada/shop/.devcontainer) and the new file
were written into /home/ada/shop. Cases that begin with `wrong` give diagnostics and no file.
"""

import os
from pathlib import Path

import pytest

from sandboxfile.cli.views.diagnostics import render_human
from sandboxfile.diagnostics import has_errors
from sandboxfile.importing import KINDS, Source, convert, detect
from sandboxfile.language.validate import load

CASES = Path(__file__).parent / "cases"
NAMES = sorted(path.name for path in CASES.iterdir())
PLACES = {"devcontainer": "/home/ada/shop/.devcontainer"}
FILES = {
    "proxy-config": "proxy-config.json",
    "commands": "start.sh",
    "sbxenv": "sbxenv.yaml",
    "compose": "compose.yaml",
    "devcontainer": "devcontainer.json",
}


def source_of(case: str) -> tuple[str, Source]:
    kind = (CASES / case / "kind").read_text().strip()
    text = (CASES / case / "source").read_text()
    return kind, Source(text, FILES[kind], PLACES.get(kind, "/home/ada/shop"), "/home/ada/shop")


def check(path: Path, found: str) -> None:
    if os.environ.get("SBX_UPDATE"):
        path.write_text(found)
    assert found == path.read_text()


@pytest.mark.parametrize("case", NAMES)
def test_a_source_becomes_a_file_and_what_it_lacks_is_told(case: str) -> None:
    kind, source = source_of(case)
    imported = convert(kind, source)
    if case.startswith("wrong"):
        assert imported.text is None
        assert has_errors(imported.diagnostics)
        check(CASES / case / "diagnostics.txt", render_human(imported.diagnostics, {source.filename: source.text}))
        return
    assert imported.text is not None
    check(CASES / case / "expected.yaml", imported.text)
    check(CASES / case / "notes.txt", "".join(f"{note}\n" for note in imported.notes))
    assert not has_errors(imported.diagnostics)


@pytest.mark.parametrize("case", [name for name in NAMES if not name.startswith("wrong")])
def test_what_is_written_is_whole_and_valid(case: str) -> None:
    text = (CASES / case / "expected.yaml").read_text()
    file, _, problems = load(text, "sandbox.yaml", variables={"HOST": "h", "PORT": "1", "TAG": "3"})
    assert not has_errors(problems)
    assert file is not None
    assert file.whole


def test_every_kind_has_a_case_that_works_and_one_that_does_not() -> None:
    for kind in KINDS:
        found = {name.startswith("wrong") for name in NAMES if source_of(name)[0] == kind}
        assert found == {True, False}


@pytest.mark.parametrize("case", [name for name in NAMES if not name.startswith("wrong")])
def test_the_kind_shows_in_the_name_or_else_in_the_text(case: str) -> None:
    kind, source = source_of(case)
    assert detect(source) == kind
    assert detect(Source(source.text, "some file", source.directory, source.target)) == kind


def test_what_is_of_no_kind_is_not_guessed() -> None:
    assert detect(Source("hello\n", "notes.txt", "/", "/")) is None
    assert detect(Source("sandboxes: {}\n", "sandbox.yaml", "/", "/")) is None
