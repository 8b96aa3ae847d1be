"""A forked `sbx` is what a started one is: streams, exit code, environment, directory, and its end."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from . import forking

FILE = 'name: shop\nsandboxes: {web: {env: {A: "${GIVEN}"}}}\n'


@pytest.fixture
def place(clean_home):
    (clean_home / "sandbox.yaml").write_text(FILE)
    environment = {"HOME": str(clean_home), "PATH": os.environ["PATH"], "PYTHONPATH": str(forking.REPOSITORY)}
    return {"cwd": clean_home, "env": environment, "timeout": 120}


@pytest.mark.parametrize(
    "words", ["--version", "validate", "config --no-such", "ls --help", "policy explain web x.example.com", "exec no a"]
)
def test_it_says_and_gives_what_a_process_does(place, words):
    forked = forking.run(words.split(), **place)
    argv = [sys.executable, "-m", "sandboxfile", *words.split()]
    started = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, **place)
    assert (forked.returncode, forked.stdout, forked.stderr) == (started.returncode, started.stdout, started.stderr)
    assert forked.stdout + forked.stderr


def test_each_has_its_own_environment_and_input(place):
    def printed(number):
        own = {**place, "env": place["env"] | {"GIVEN": f"number {number}"}}
        compose = f"services: {{web: {{image: 'alpine:{number}'}}}}\n"
        imported = forking.run(("import", "compose", "-", "-o", "-"), input=compose, **own)
        return forking.run(("config",), **own).stdout + imported.stdout

    with ThreadPoolExecutor(8) as pool:
        for number, said in enumerate(pool.map(printed, range(8))):
            assert f'"number {number}"' in said
            assert f'alpine:{number}"' in said


def test_bytes_are_bytes(place):
    assert forking.run(("--version",), text=False, **place).stdout.startswith(b"sbx ")


def test_one_that_takes_too_long_is_killed(place):
    with pytest.raises(subprocess.TimeoutExpired):
        forking.run(("watch",), **{**place, "timeout": 2})
