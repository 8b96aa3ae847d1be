"""What a command does before its own work, which is most of its time: imports, and what they would bring along."""

import json
import subprocess
import sys

import pytest

FILE = """\
templates:
  tools: {packages: {apt: [jq]}}
policies:
  build: {allow: [{preset: npm}, "api.example.com:443"]}
sandboxes:
  web: {template: tools, policy: build, env: {NUMBER: "1"}}
"""
NEVER = {"asyncssh", "cryptography", "h2", "mitmproxy", "qemu", "watchfiles"}
OF_OTHER_COMMANDS = {
    "applying",
    "cli.applying",
    "cli.approving",
    "cli.saving",
    "cli.views.progress",
    "host.history",
    "host.pip_config",
    "model.events",
    "model.lock_shape",
    "planning.markdown",
    "planning.rollback",
    "planning.saved",
    "secrets.sources",
}
OF_CHANGES = {"host.capacity", "host.template_sources", "planning.fit", "policy.compiled", "secrets.needs"}
PROGRAM = """
import json, sys
from sandboxfile.cli.main import main
try:
    main(sys.argv[1:])
finally:
    print(json.dumps(sorted(sys.modules)))
"""


@pytest.fixture
def loaded(project, environment):
    """The modules that a command has loaded at its end. The project has a file that it succeeds with."""

    def call(*words):
        (project / "sandbox.yaml").write_text(FILE)
        done = python(PROGRAM, *words, cwd=project, environment=environment)
        return set(json.loads(done.stdout.splitlines()[-1]))

    return call


def python(program, *words, cwd, environment):
    argv = [sys.executable, "-c", program, *words]
    done = subprocess.run(argv, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def ours(names):
    return {f"sandboxfile.{name}" for name in names}


def test_plan_loads_nothing_that_only_applying_saving_and_secrets_need(loaded):
    modules = loaded("plan")
    assert "sandboxfile.planning.project" in modules
    assert sorted(modules & (NEVER | ours(OF_OTHER_COMMANDS))) == []


@pytest.mark.parametrize("words", [("validate",), ("config",), ("plan",)])
def test_who_only_reads_files_starts_no_event_loop(loaded, words):
    modules = loaded(*words)
    assert "sandboxfile.pipeline" in modules
    assert sorted(modules & ({"anyio"} | NEVER | ours(OF_OTHER_COMMANDS))) == []


def test_what_compares_policies_and_looks_for_room_is_loaded_for_changes_alone(loaded):
    assert sorted(loaded("config") & ours(OF_CHANGES)) == []
    assert loaded("plan") >= ours({"host.capacity", "planning.fit", "policy.compiled"})


def test_help_loads_no_command(loaded):
    modules = loaded("--help")
    heavy = {"anyio", "asyncio", "pydantic", "ruamel"} | ours({"pipeline", "cli.commands.plan"})
    assert sorted(modules & (NEVER | heavy)) == []


def test_no_plugin_of_another_package_sees_what_is_validated(project, environment, tmp_path):
    """One of pydantic would be handed policies and the names of secrets by being installed."""
    (project / "sandbox.yaml").write_text(FILE)
    metadata = tmp_path / "curious-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: curious\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[pydantic]\ncurious = curious:plugin\n")
    (tmp_path / "curious.py").write_text("print('loaded')\n")
    environment = environment | {"PYTHONPATH": f"{environment['PYTHONPATH']}:{tmp_path}"}
    validate = "from sandboxfile.cli.main import main; main(['validate'])"
    assert python(validate, cwd=project, environment=environment).stdout == ""
    asked_for = environment | {"PYDANTIC_DISABLE_PLUGINS": ""}
    assert "loaded" in python(validate, cwd=project, environment=asked_for).stdout  # that one could have been


def test_the_end_of_a_command_looks_for_no_garbage(project, environment):
    """Handlers are called in reverse: this one sees what those of `main` have done."""
    program = (
        "import atexit, gc\n"
        "atexit.register(lambda: print(gc.get_freeze_count() > 1000))\n"
        "from sandboxfile.cli.main import main; main(['version'])"
    )
    assert python(program, cwd=project, environment=environment).stdout.splitlines()[-1] == "True"
