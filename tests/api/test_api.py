"""The package as somebody's program sees it: its example, its names, what importing it costs, its types."""

import builtins
import doctest
import re
import subprocess
import sys
from pathlib import Path
from types import FunctionType

import pytest

import sandboxfile
from sandboxfile import api

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = """
from sandboxfile import Completed, Outcome, Plan, Project, Sandbox, Volume, apply, load, plan, render, volumes

def bring_up(path: str) -> Sandbox:
    project: Project = load(path)
    made: Plan = plan(project, only=["web"])
    print(render(made))
    outcome: Outcome = apply(made, on_progress=lambda event: print(event))
    assert outcome.ok
    return project["web"]

def size(sandbox: Sandbox, path: str) -> int:
    done: Completed = sandbox.exec(["wc", "-c", path], timeout=10, check=True)
    return int(done.stdout.split()[0]) + len(sandbox.read_file(path))

def address(sandbox: Sandbox) -> tuple[str, int]:
    with sandbox.forward(80) as there:
        return there

def emptied(project: Project) -> int:
    found: list[Volume] = volumes(project)
    for volume in found:
        if volume.holder is None:
            volume.remove()
    return sum(volume.size or volume.used for volume in found)

def renamed(sandbox: Sandbox) -> str:
    return sandbox.rename("front").name
"""
WRONG = """
from sandboxfile import apply, load

apply("sandbox.yaml")
load(1)
load("a").exec("ls")
from sandboxfile import nothing
"""


def test_the_example_of_its_documentation_works(project):
    done = doctest.testmod(api, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE, verbose=False)
    assert done.attempted == 13
    assert done.failed == 0


def test_every_name_comes_from_the_package_itself():
    assert sandboxfile.__all__ == api.__all__
    for name in api.__all__:
        assert getattr(sandboxfile, name) is getattr(api, name)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        sandboxfile.nothing  # noqa: B018


def test_what_its_functions_say_that_they_raise_can_be_imported_from_there():
    public = [getattr(api, name) for name in api.__all__]
    methods = [value for each in public if isinstance(each, type) for value in vars(each).values()]
    documents = [value.__doc__ or "" for value in (*public, *methods) if isinstance(value, FunctionType)]
    told = set(re.findall(r"\b[A-Z][a-z]+Error\b", " ".join(documents))) - set(vars(builtins))
    assert "CommandError" in told
    assert told <= set(api.__all__)


@pytest.mark.parametrize("first", ["import sandboxfile.applying.executor", "from sandboxfile import load", "pass"])
def test_apply_is_the_function_whatever_was_imported_before(first):
    code = (
        f"{first}\nfrom sandboxfile import apply\nimport sandboxfile.applying.executor, types\nimport sandboxfile\n"
        "from sandboxfile.applying import executor\nfrom sandboxfile import apply as again\n"
        "assert isinstance(apply, types.FunctionType)\nassert apply is again is sandboxfile.apply\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr


def test_to_import_the_package_or_its_plugin_loads_nothing_of_the_rest():
    code = (
        "import sys, pytest\nbefore = set(sys.modules)\n"
        "import sandboxfile.pytest_plugin\nprint(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert set(done.stdout.split()) == {"sandboxfile", "sandboxfile.pytest_plugin"}


def test_programs_that_use_it_are_type_checked(tmp_path):
    for name, text in (("right", PROGRAM), ("wrong", WRONG)):
        (tmp_path / f"{name}.py").write_text(text)
    words = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--no-error-summary"]
    done = subprocess.run(
        [*words, str(tmp_path / "right.py"), str(tmp_path / "wrong.py")],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={"MYPYPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(REPOSITORY)},
    )
    found = sorted(line.partition(": error: ")[0].rpartition("/")[2] for line in done.stdout.splitlines())
    assert found == [f"wrong.py:{line}" for line in (4, 5, 6, 7)], done.stdout + done.stderr
