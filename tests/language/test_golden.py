"""Every diagnostic, as a person sees it. A case is a directory; SBX_UPDATE=1 rewrites what is expected.

`case.json` may name `directories`, `links` (name -> target), `files_outside` and `modes` to make beside the files of
the case, and the text of the `machine` policy file. The project is `home/project` in a temporary directory, shown as
/TMP. Cases that begin with `valid` or `warning` have no errors. It is the 21st of November 2026.
"""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from sandboxfile.cli.views.diagnostics import render_human
from sandboxfile.diagnostics import Diagnostics, has_errors, in_order
from sandboxfile.host.files import read_file
from sandboxfile.host.inputs import gather
from sandboxfile.host.layout import Layout
from sandboxfile.host.policy_files import read_policy_files
from sandboxfile.host.project_files import overrides_of, read_named
from sandboxfile.host.variables import DOT_ENV, Variables, read_variables
from sandboxfile.language.document import decode
from sandboxfile.language.loading import Text, load_files
from sandboxfile.language.validate import load_project
from sandboxfile.model.desired import DesiredSandbox, DesiredState
from sandboxfile.model.fingerprint import fingerprint
from sandboxfile.model.policy import NO_POLICY
from sandboxfile.resolve.project import resolve
from sandboxfile.resolve.render import config, to_yaml

from .. import forking

GOLDEN = Path(__file__).parent / "golden"
REPOSITORY = Path(__file__).resolve().parents[2]
CASES = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())
WRONG = [case for case in CASES if not case.startswith(("valid", "warning"))]
TODAY = "2026-11-21"


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
        (project / name).chmod(int(made.get("modes", {}).get(name, "644"), 8))
    if "machine" in made:
        machine_policy(project).write_text(made["machine"])
        machine_policy(project).chmod(0o644)
    for name, target in made.get("links", {}).items():
        (project / name).symlink_to(target)
    return project / "sandbox.yaml"


def machine_policy(project: Path) -> Path:
    return project.parent.parent / "machine.yaml"


def problems_of(path: Path, home: Path) -> tuple[DesiredState | None, dict[str, str], Diagnostics]:
    layout = Layout.from_environment({}, home, 1000)
    text, problems = decode(read_file(path), "sandbox.yaml")
    if text is None:
        return None, {}, problems
    policies = read_policy_files(layout, home, machine_policy(path.parent))
    variables = read_variables(path.parent, (), {}) if "${" in text else Variables()
    named = [replace(each, span=each.span and replace(each.span, file=DOT_ENV)) for each in variables.problems]
    texts = [Text(file.name, file.read_text()) for file in (path, *overrides_of(path)) if file.exists()]
    files = load_files(texts, lambda: variables.values, lambda name: read_named(str(path.parent / name)))
    sources = {
        **policies.sources,
        **{Path(name).name: text for name, text in variables.sources.items()},
        **files.sources,
    }
    file, problems = load_project(files, policies.names)
    if file is None:
        return None, sources, problems
    beside = (*variables.files, *(path.parent / other for other in files.others))
    desired, more = resolve(file, gather(file, path, layout, {}, policies, home=home, today=TODAY, beside=beside))
    return None if named else desired, sources, in_order((*named, *problems, *more))


@pytest.mark.parametrize("case", CASES)
def test_wrong_file_is_explained(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path.resolve() / "home"
    path = prepare(GOLDEN / case, home / "project")
    monkeypatch.chdir(path.parent)
    desired, sources, problems = problems_of(path, home)
    rendered = render_human(problems, sources).replace(str(tmp_path.resolve()), "/TMP")
    expected = GOLDEN / case / "expected.txt"
    if os.environ.get("SBX_UPDATE"):
        expected.write_text(rendered)
    assert rendered == expected.read_text()
    assert has_errors(problems) == (case in WRONG)
    assert (desired is None) == (case in WRONG)
    assert bool(problems) != case.startswith("valid")


@pytest.mark.parametrize("case", [case for case in WRONG if not case.startswith("machine_")])
def test_wrong_file_stops_up_before_anything_changes(case: str, tmp_path: Path) -> None:
    home = tmp_path.resolve() / "home"
    path = prepare(GOLDEN / case, home / "project")
    before = {entry: entry.lstat().st_mtime_ns for entry in home.rglob("*")}
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY)}
    done = forking.run(("up", "--yes"), cwd=path.parent, env=environment, timeout=60)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith((GOLDEN / case / "expected.txt").read_text().splitlines()[0])
    assert {entry: entry.lstat().st_mtime_ns for entry in home.rglob("*")} == before


@pytest.mark.parametrize("case", sorted(set(CASES) - set(WRONG)))
def test_what_config_prints_of_a_right_file_loads_to_itself(case: str, tmp_path: Path) -> None:
    home = tmp_path.resolve() / "home"
    path = prepare(GOLDEN / case, home / "project")
    desired, _, _ = problems_of(path, home)
    assert desired is not None
    printed = to_yaml(config(desired))
    for override in overrides_of(path):
        override.unlink(missing_ok=True)
    path.write_text(printed)
    again, sources, problems = problems_of(path, home)
    assert again is not None, render_human(problems, sources)
    assert to_yaml(config(again)) == printed
    assert [fingerprint(without_policy(spec)) for spec in again.sandboxes] == [
        fingerprint(without_policy(spec)) for spec in desired.sandboxes
    ]
    assert again.volumes == desired.volumes


def without_policy(spec: DesiredSandbox) -> DesiredSandbox:
    """What presets and agents bring to a policy is written out, and so has another origin."""
    return replace(spec, policy=NO_POLICY)


def test_there_are_enough_wrong_files() -> None:
    assert len(CASES) >= 60
