"""From a file to a running microVM and back: up, again, edit, replace, down, and a clean new one."""

import json
import platform

import pytest

from .roots import CLIENTS

pytestmark = pytest.mark.vm

PYTHON = "{packages: {apt: [python3]}}"  # as in the example that test_ports.py runs: one image for both
FILE = """\
name: road
templates:
  dev: {packages}
sandboxes:
  web:
    template: dev
    workspaces: [.]
    resources: {{cpus: 1, memory: {memory}, disk: 4GiB}}
    setup: ["echo made > made-by-setup"]
    env: {{GREETING: hello}}
    protect: {protect}
"""


def write(sbx, memory="512MiB", packages=PYTHON, protect="false"):
    sbx.write(FILE.format(memory=memory, packages=packages, protect=protect))


def test_a_file_becomes_a_machine_and_every_edit_has_its_price(sbx):
    write(sbx)
    assert sbx("plan", "--detailed-exitcode", code=2).stdout
    sbx("up", "-y")

    inside = sbx("exec", "web", "uname", "-a").stdout
    assert platform.release() not in inside
    assert inside.startswith("Linux web ")
    assert (sbx.project / "made-by-setup").read_text() == "made\n"
    assert sbx("exec", "web", "sh", "-c", "echo $GREETING; pwd; id -un").stdout.split() == [
        "hello",
        str(sbx.project),
        "agent",
    ]

    again = sbx("up", "-y")
    assert "no changes" in (again.stdout + again.stderr).lower()
    assert sbx("plan", "--detailed-exitcode", code=0)

    write(sbx, memory="640MiB")
    plan = sbx("plan", "--detailed-exitcode", code=2).stdout
    assert "restart" in plan
    assert "memory" in plan
    sbx("exec", "web", "sh", "-c", "echo kept > /home/agent/kept; sync")
    sbx("up", "-y")
    assert sbx("exec", "web", "cat", "/home/agent/kept").stdout == "kept\n"
    total = int(sbx("exec", "web", "awk", "/MemTotal/{print $2}", "/proc/meminfo").stdout)
    assert total > 540 * 1024

    write(sbx, memory="640MiB", packages=CLIENTS, protect="true")
    refused = sbx("up", "-y", code=1)
    assert "protect" in refused.stdout + refused.stderr
    assert sbx("exec", "web", "cat", "/home/agent/kept").stdout == "kept\n"

    plan = sbx("plan", "--format", "json", code=1)
    assert json.loads(plan.stdout)
    write(sbx, memory="640MiB", packages=CLIENTS)
    plan = sbx("plan").stdout
    assert "replace" in plan
    assert "disk" in plan
    assert "lost" in plan.lower()
    sbx("up", "-y")
    sbx("exec", "web", "test", "-e", "/home/agent/kept", code=1)
    sbx("exec", "web", "wget", "--version")

    sbx("down", "-y")
    assert json.loads(sbx("ls", "-a", "--format", "json").stdout) == []
    assert (sbx.project / "made-by-setup").exists()


def test_a_new_sandbox_after_rm_is_clean_and_the_workspace_is_intact(sbx):  # T3 and T6 of the isolation list
    sbx.write("name: clean\nsandboxes:\n  box: {workspaces: [.], resources: {cpus: 1, memory: 512MiB, disk: 4GiB}}\n")
    sbx("up", "-y")
    changes = "echo mine > work; sudo touch /usr/local/bin/tool; touch ~/.history; sudo mkdir /opt/x"
    sbx("exec", "box", "sh", "-c", changes)
    package = "Package: sbx-example\nVersion: 1\nArchitecture: all\nMaintainer: none\nDescription: none\n"
    (sbx.project / "package/DEBIAN").mkdir(parents=True)
    (sbx.project / "package/DEBIAN/control").write_text(package)
    sbx("exec", "box", "sh", "-c", "dpkg-deb --build package example.deb && sudo dpkg -i example.deb")
    sbx("stop", "box")
    sbx("start", "box")
    sbx("exec", "box", "dpkg", "-s", "sbx-example")
    sbx("exec", "box", "sh", "-c", "test -e /usr/local/bin/tool && test -e ~/.history && test -d /opt/x")
    sbx("rm", "-y", "box")
    sbx("up", "-y")
    sbx("exec", "box", "sh", "-c", "test ! -e /usr/local/bin/tool && test ! -e ~/.history && test ! -e /opt/x")
    sbx("exec", "box", "dpkg", "-s", "sbx-example", code=1)
    assert (sbx.project / "work").read_text() == "mine\n"
    assert not [
        path for path in ("/usr/local/bin/tool", "/opt/x", "/var/lib/dpkg/info/sbx-example.list") if sbx.on_host(path)
    ]
    sbx("down", "-y")


def test_several_sandboxes_come_up_together_stop_alone_and_go_only_when_asked(sbx):
    def write(*names):
        boxes = "".join(f"  {name}: {{resources: {{cpus: 1, memory: 256MiB, disk: 4GiB}}}}\n" for name in names)
        sbx.write(f"name: many\nsandboxes:\n{boxes}")

    names = ["one", "two", "three"]
    write(*names)
    sbx("up", "-y")
    for name in names:
        assert sbx("exec", name, "hostname").stdout.strip() == name
    sbx("stop", "two")
    states = {row["name"]: row["status"] for row in json.loads(sbx("ls", "-a", "--format", "json").stdout)}
    assert states == {"one": "running", "two": "stopped", "three": "running"}
    assert sbx("plan", "--detailed-exitcode", code=2).stdout
    sbx("up", "-y", "two")
    assert sbx("exec", "two", "true")

    write("one", "two")  # `three` is an orphan now
    plan = sbx("plan")
    assert "three" in plan.stdout + plan.stderr
    assert "orphan" in (plan.stdout + plan.stderr).lower()
    sbx("up", "-y")
    sbx("exec", "many/three", "true")
    sbx("up", "-y", "--remove-orphans")
    sbx("exec", "many/three", "true", code=125)
    sbx("down", "-y")


def test_the_main_process_is_restarted_as_the_file_says_and_its_output_is_in_the_logs(sbx):
    sbx.write(
        "name: mains\nsandboxes:\n  svc:\n    workspaces: [.]\n    resources: {cpus: 1, memory: 256MiB, disk: 4GiB}\n"
        '    command: ["sh", "-c", "echo run >> runs; echo out-$(wc -l < runs); sleep 0.2; exit 3"]\n'
        "    restart: on-failure\n"
    )
    sbx("up", "-y")
    sbx.wait_for(lambda: (sbx.project / "runs").exists() and len((sbx.project / "runs").read_text().split()) >= 3)
    assert "out-3" in sbx.wait_for(lambda: (text := sbx("logs", "svc").stdout) and "out-3" in text and text)
    sbx("down", "-y")
