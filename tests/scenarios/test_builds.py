"""Builds whose steps run in a machine: what comes of them, what is done again, and what a kill leaves.

One project for all tests. The word of each run is in the steps, so that none of them is in the cache beforehand.
"""

import json
import os
import secrets
import signal
import subprocess

import pytest

from .roots import CLIENTS

pytestmark = pytest.mark.vm

FILE = """\
templates:
  clients: {clients}
  built:
    base: clients
    packages: {{npm: [origin-sample], pip: [origin-sample]}}
    files: [{{source: ./motd, target: /etc/motd, mode: "0640"}}]
    env:
      WORD: {word}
      npm_config_registry: https://npm.example.com/npm/
      PIP_INDEX_URL: https://pip.example.com/simple/
    policy: {{allow: ["npm.example.com:443", "pip.example.com:443"]}}
    run:
      - "curl -fsS https://evil.example.org/ && exit 9; id -un >/by; rm /etc/issue; echo kept >/tmp/dropped"
      - {{command: "id -un >~/by", user: agent}}
      - "{last}"
sandboxes:
  box: {{template: built}}
"""
STEPS = 6


class Project:
    """The project: `write` gives its last step, `build` builds, `exec` asks the sandbox."""

    def __init__(self, sbx):
        self.sbx, self.word = sbx, secrets.token_hex(4)
        (sbx.project / "motd").write_text("welcome\n")

    def write(self, last):
        self.sbx.write(FILE.format(clients=CLIENTS, word=self.word, last=last))

    def build(self, code=0):
        return self.sbx("template", "build", "built", code=code).stderr

    def exec(self, name, line):
        return self.sbx("exec", name, "sh", "-c", line, any_code=True).stdout.strip()

    def nothing_is_left(self, running):
        assert len(self.sbx.processes("qemu")) == running
        assert not list(self.sbx.state.glob("sandboxes/_build/[0-9a-f]*"))


@pytest.fixture(scope="module")
def project(module_sbx, module_origin):
    project = Project(module_sbx)
    project.write("echo first >/last")
    project.sbx("up", "--yes")
    yield project
    project.sbx("down", "--yes")


def test_each_step_has_left_what_it_made(project):
    says = "said by the sample package"
    assert project.exec("box", "NODE_PATH=$(npm root -g) node -p 'require(\"origin-sample\")'") == says
    assert project.exec("box", "python3 -c 'import origin_sample; print(origin_sample.SAYS)'") == says
    assert project.exec("box", "sudo cat /etc/motd; stat -c '%a %U' /etc/motd") == "welcome\n640 root"
    assert project.exec("box", "cat /by ~/by /last; ls /etc/issue /tmp/dropped 2>/dev/null") == "root\nagent\nfirst"


def test_nothing_of_the_build_machine_is_left_inside(project):
    assert (
        project.exec("box", "cat /etc/hostname; hostname; ls /etc/ssl/certs | grep -c '^sandboxfile'") == "box\nbox\n1"
    )
    assert project.exec("box", "grep -c '^# sandboxfile authority' /etc/ssl/certs/ca-certificates.crt") == "1"
    assert project.exec("box", "grep -c '^127.0.1.1' /etc/hosts; sudo test -e /root/.npm; echo $?") == "1\n1"
    (found,) = json.loads(project.sbx("template", "inspect", "built", "--format", "json").stdout)
    assert found["versions"]["npm"]["origin-sample"] == "1.0.0"
    assert found["versions"]["pip"]["origin-sample"] == "1.0.0"
    assert [row["name"] for row in json.loads(project.sbx("ls", "-a", "--format", "json").stdout)] == ["box"]


def test_only_what_has_changed_is_done_again_and_a_failing_step_says_where(project):
    project.write("echo about to fail; exit 3")
    failed = project.build(code=1)
    assert f"{STEPS - 1} of {STEPS} steps are in the cache" in failed
    assert "exit code 3" in failed
    assert "sandbox.yaml:15:" in failed
    assert "about to fail" in failed
    project.nothing_is_left(running=1)
    project.write("echo second >/last")
    built = project.build()
    assert f"{STEPS - 1} of {STEPS} steps are in the cache" in built


def test_a_builder_that_is_killed_leaves_no_machine_and_two_at_once_then_build_once(project):
    project.write("echo working; sleep 1000")
    client = project.sbx.popen("template", "build", "built")
    for line in client.stderr:
        if line.rstrip().endswith(": working"):
            break
    assert project.sbx.processes("qemu")
    os.kill(client.pid, signal.SIGKILL)
    client.wait(10)
    project.sbx.wait_for(lambda: len(project.sbx.processes("qemu")) == 1, timeout=10)  # that of `box`

    project.write("echo third >/last")
    clients = [project.sbx.popen("template", "build", "built") for _ in range(2)]
    said = []
    for client in clients:
        said.append(client.communicate(timeout=300)[1])
        assert client.returncode == 0, said
    assert sum("making the disk" in text for text in said) == 1, said
    assert sum("waiting for another build" in text for text in said) == 1, said


def test_a_stopped_sandbox_is_saved_as_it_is_and_stays_as_it_was(project):
    project.write("echo first >/last")
    project.exec("box", "echo mine >~/mine; sudo rm /by; sync")
    project.sbx("stop", "box")
    before = digest(project)
    project.sbx("save", "box", "kept")
    assert digest(project) == before
    project.nothing_is_left(running=0)
    text = project.sbx.file.read_text().replace("templates:\n", 'templates:\n  kept: {base: "saved:kept"}\n')
    project.sbx.write(text + "  kept: {template: kept}\n")
    project.sbx("up", "--yes", "kept")
    assert project.exec("kept", "cat ~/mine /last; ls /by 2>/dev/null") == "mine\nfirst"
    assert project.exec("kept", "python3 -c 'import origin_sample; print(origin_sample.SAYS)'") != ""


def digest(project):
    (disk,) = project.sbx.state.glob("sandboxes/*/box/disk.qcow2")
    return subprocess.run(["sha256sum", str(disk)], check=True, capture_output=True, text=True).stdout
