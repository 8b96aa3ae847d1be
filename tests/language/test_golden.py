"""Every diagnostic, as a person sees it. A case is a directory; SBX_UPDATE=1 rewrites what is expected.

`case.json` may name `directories`, `links` (name -> target) and `files_outside` to make beside the files of the case.
The project is `home/project` in a temporary directory, shown as /TMP.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sandboxfile.cli.views.diagnostics import render_human
from sandboxfile.diagnostics import Diagnostics, has_errors, in_order
from sandboxfile.host.inputs import gather, read_file
from sandboxfile.host.layout import Layout
from sandboxfile.language.document import decode
from sandboxfile.language.validate import load
from sandboxfile.model.desired import DesiredState
from sandboxfile.resolve.project import resolve

GOLDEN = Path(__file__).parent / "golden"
REPOSITORY = Path(__file__).resolve().parents[2]
CASES = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())


def prepare(case: Path, project: Path) -> Path:
    project.mkdir(parents=True)
    for file in case.iterdir():
        if file.name not in ("case.json", "expected.txt"):
            shutil.copy(file, project)
    made = json.loads((case / "case.json").read_text()) if (case / "case.json").exists() else {}
    for name in made.get("directories", []):
        (project / name).mkdir(parents=True)
    for name, text in made.get("files_outside", {}).items():
        (project / name).write_text(text)
    for name, target in made.get("links", {}).items():
        (project / name).symlink_to(target)
    return project / "sandbox.yaml"


def problems_of(path: Path, home: Path) -> tuple[DesiredState | None, str, Diagnostics]:
    layout = Layout.from_environment({}, home, 1000)
    text, problems = decode(read_file(path), "sandbox.yaml")
    if text is None:
        return None, "", problems
    file, _, problems = load(text, "sandbox.yaml")
    if file is None:
        return None, text, problems
    desired, more = resolve(file, gather(file, path, layout, {}, home))
    return desired, text, in_order((*problems, *more))


@pytest.mark.parametrize("case", CASES)
def test_wrong_file_is_explained(case: str, tmp_path: Path) -> None:
    home = tmp_path.resolve() / "home"
    path = prepare(GOLDEN / case, home / "project")
    desired, text, problems = problems_of(path, home)
    rendered = render_human(problems, {"sandbox.yaml": text}).replace(str(tmp_path.resolve()), "/TMP")
    expected = GOLDEN / case / "expected.txt"
    if os.environ.get("SBX_UPDATE"):
        expected.write_text(rendered)
    assert rendered == expected.read_text()
    assert has_errors(problems) == (case != "valid")
    assert (desired is None) == (case != "valid")


@pytest.mark.parametrize("case", [case for case in CASES if case != "valid"])
def test_wrong_file_stops_up_before_anything_changes(case: str, tmp_path: Path) -> None:
    home = tmp_path.resolve() / "home"
    path = prepare(GOLDEN / case, home / "project")
    before = {entry: entry.lstat().st_mtime_ns for entry in home.rglob("*")}
    done = subprocess.run(
        [sys.executable, "-m", "sandboxfile", "up", "--yes"],
        cwd=path.parent,
        env={"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith((GOLDEN / case / "expected.txt").read_text().splitlines()[0])
    assert {entry: entry.lstat().st_mtime_ns for entry in home.rglob("*")} == before


def test_there_are_enough_wrong_files() -> None:
    assert len(CASES) >= 26
