"""The frame of processes that outlive us: alone, and with nothing of their memory left behind."""

import resource
import subprocess
import sys

import pytest

PROGRAM = """
import os, resource, sys
from pathlib import Path
from sandboxfile.host.detached import run_alone

if sys.argv[2] == "none":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

async def live(lock):
    print(*resource.getrlimit(resource.RLIMIT_CORE))
    os.close(lock)
    return 0

sys.exit(run_alone(Path(sys.argv[1]), "no directory", live))
"""


def run(tmp_path, how):
    command = [sys.executable, "-u", "-c", PROGRAM, str(tmp_path / "lock"), how]
    return subprocess.run(command, capture_output=True, text=True, check=False)


FORBIDDEN = resource.getrlimit(resource.RLIMIT_CORE)[1] == 0  # to this process too


@pytest.mark.parametrize(("how", "limits"), [("usual", "0 0" if FORBIDDEN else "1 1"), ("none", "0 0")])
def test_its_memory_is_never_written_to_a_file(tmp_path, how, limits):
    found = run(tmp_path, how)
    assert (found.returncode, found.stdout, found.stderr) == (0, f"{limits}\n", "")


def test_without_its_directory_it_says_so(tmp_path):
    found = run(tmp_path / "missing", "usual")
    assert (found.returncode, found.stderr) == (1, "no directory\n")
