"""A clean home with a project in it, `sbx` as a process there (forking.py), and sandboxes that exist on disk only."""

import json
import os
from pathlib import Path

import pytest

from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import write_record
from sandboxfile.model.desired import DesiredSandbox, Image
from sandboxfile.model.observed import Applied
from sandboxfile.names import SandboxId

from .. import forking

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(clean_home):
    place = clean_home / "my-project"
    place.mkdir()
    return place


@pytest.fixture
def environment(clean_home):
    return {
        "HOME": str(clean_home),
        "SBX_HOME": f"{clean_home}/sbx",
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(REPOSITORY),
        "TERM": "xterm",
    }


@pytest.fixture
def cli(project, environment):
    """Run `sbx` to its end; it must give `code`."""

    def call(*words, code=0, cwd=project, **variables):
        done = forking.run(words, cwd=cwd, env=environment | variables, timeout=120)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return call


@pytest.fixture
def layout(clean_home):
    """That of the processes which `cli` starts."""
    return Layout.from_environment({"SBX_HOME": f"{clean_home}/sbx"}, clean_home, os.getuid())


@pytest.fixture
def stopped(layout, project):
    """Make a sandbox that exists, stopped: record and disk. Gives its files."""

    def make(name="web", policy=None, image="d", **fields):
        id = SandboxId("shop", name)
        paths = layout.sandbox(id)
        paths.root.mkdir(parents=True, mode=0o700)
        if policy is not None:
            fields["policy"] = policy
        spec = DesiredSandbox(id, "shell", Image(image), **fields)
        write_record(paths, Applied(spec, str(project / "sandbox.yaml"), "2026-01-02T03:04:05+00:00", 0))
        for file in (paths.disk, paths.base, paths.lock):
            file.touch()
        return paths

    return make


@pytest.fixture
def logged(layout):
    """Append records to a sandbox's network log; what is left out is usual."""

    def append(name, *records):
        usual = {
            "time": "2026-11-21T11:00:00.000Z",
            "sandbox": name,
            "verdict": "allowed",
            "protocol": "https",
            "host": "api.example.com",
            "port": 443,
            "method": "GET",
            "path": "/v1",
            "status": 200,
            "rule": "api.example.com",
            "layer": "policy web",
            "place": "sandbox.yaml:3:9",
            "reason": "",
            "addresses": ["203.0.113.5"],
            "sent": 100,
            "received": 2048,
            "seconds": 0.25,
            "error": "",
            "via": "proxy",
            "inspected": True,
        }
        with layout.sandbox(SandboxId("shop", name)).network_log.open("a") as file:
            for record in records:
                file.write((record if isinstance(record, str) else json.dumps(usual | record)) + "\n")

    return append
