"""Layering and import costs: what may know what, and what a cheap command must not load."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
MACHINERY = ("asyncssh", "qemu", "mitmproxy", "trio", "sandboxfile.vm.qmp", "sandboxfile.guest.channel")


def test_imports_go_down_only():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def imported_by(arguments, home, project):
    """The modules that a command loads, told by the interpreter itself."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "sandboxfile", *arguments],
        cwd=project,
        env={"HOME": str(home), "SBX_HOME": str(home / "sbx"), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}


@pytest.mark.parametrize("arguments", [["--help"], ["version"]])
def test_help_loads_neither_the_language_nor_an_event_loop(arguments, clean_home):
    loaded = imported_by(arguments, clean_home, clean_home)
    assert "sandboxfile.cli.main" in loaded
    assert not loaded & {"pydantic", "ruamel.yaml", "anyio", "asyncio", *MACHINERY}


@pytest.mark.parametrize("arguments", [["plan"], ["validate"], ["config"], ["ls", "-a"]])
def test_commands_that_run_no_machine_load_no_machinery(arguments, clean_home):
    (clean_home / "sandbox.yaml").write_text("sandboxes: {box: {}}\n")
    loaded = imported_by(arguments, clean_home, clean_home)
    assert "sandboxfile.pipeline" in loaded or arguments[0] == "ls"
    assert not loaded & set(MACHINERY)
