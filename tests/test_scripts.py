"""The scripts that people and CI start are what the README says, and parse."""

import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("script", ["scripts/demo", "scripts/test", "scripts/lib.sh", ".ci/run"])
def test_a_script_parses(script):
    done = subprocess.run(["bash", "-n", REPOSITORY / script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_ci_runs_what_the_readme_says():
    readme = (REPOSITORY / "README.md").read_text()
    assert "\nscripts/test " in readme
    commands = [line for line in (REPOSITORY / ".ci/run").read_text().splitlines() if not line.startswith(("#", "cd "))]
    assert commands == ["CI=true exec scripts/test"]


def test_tests_with_machines_are_where_the_script_looks_for_them():
    (line,) = [line for line in (REPOSITORY / "scripts/test").read_text().splitlines() if "-m vm" in line]
    places = [REPOSITORY / word for word in line.split() if word.startswith("tests/")]
    mark = "pytest.mark." + "vm"
    found = [path for path in (REPOSITORY / "tests").rglob("*.py") if mark in path.read_text()]
    assert len(found) > 30
    assert not [path for path in found if not any(path.is_relative_to(place) for place in places)]


def test_the_files_that_take_longest_are_there():
    from .conftest import LONGEST

    assert not set(LONGEST) - {path.stem for path in (REPOSITORY / "tests").rglob("test_*.py")}


def test_a_python_that_is_too_old_is_passed_over(tmp_path):
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    new = tmp_path / "pyenv/versions/3.12.1/bin/python"
    new.parent.mkdir(parents=True)
    new.write_text('#!/bin/sh\ncase "$2" in *version_info*) exit 0;; *) echo "$0";; esac\n')
    for script in (old, new):
        script.chmod(0o755)
    for name in ("dirname", "cat", "bash"):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    done = subprocess.run(
        ["/bin/bash", "-c", f". {REPOSITORY}/scripts/lib.sh; find_python"],
        env={"PATH": str(tmp_path), "HOME": str(tmp_path), "PYENV_ROOT": str(tmp_path / "pyenv")},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == str(new), done.stderr


def test_the_readme_names_only_files_that_exist():
    readme = (REPOSITORY / "README.md").read_text()
    named = set(re.findall(r"`((?:sandboxfile|schemas|examples|scripts|benchmarks)/[\w./-]+)`", readme))
    assert named
    assert not [path for path in named if not (REPOSITORY / path).exists()]
