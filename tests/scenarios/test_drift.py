"""What moves behind our back: a saved plan is stale by that alone which it rests on, and drift names just what moved.

Each interference is done to a real machine, told as it is by `drift` with its exit code, and mended by `up`.
"""

import json
import os
import signal

import pytest

pytestmark = pytest.mark.vm

FILE = """\
name: moved
sandboxes:
  box:
    workspaces: [., "./docs:/docs"]
    resources: {{cpus: 1, memory: 384MiB, disk: 4GiB}}
    policy: {{allow: [api.example.com]}}
    env: {{ROUND: "{round}"}}
    command: [sleep, "1000000"]
{more}"""
SPARE = "  spare: {resources: {cpus: 1, memory: 384MiB, disk: 4GiB}}\n"


def write(sbx, round=0, more=""):
    (sbx.project / "docs").mkdir(exist_ok=True)
    sbx.write(FILE.format(round=round, more=more))


def drift(sbx, code=2):
    """What moved of the only sandbox, as (path, applied, found); and the rest that is said of it."""
    sandboxes = json.loads(sbx("drift", "--format", "json", code=code).stdout)["sandboxes"]
    assert len(sandboxes) == (code == 2)
    said = sandboxes[0] if sandboxes else {"moved": []}
    return [tuple(moved[key] for key in ("path", "applied", "found")) for moved in said["moved"]], said


def kill(sbx, role):
    for pid in sbx.processes(role):
        os.kill(pid, signal.SIGKILL)
    sbx.wait_for(lambda: not sbx.processes("qemu") and not sbx.processes("supervisor"))


def test_a_saved_plan_is_stale_by_what_it_rests_on_alone(sbx):
    write(sbx)
    sbx("up", "-y")
    write(sbx, 1)
    sbx("plan", "-o", "saved")
    write(sbx, 1, SPARE)
    sbx("up", "-y", "spare")  # another sandbox is no business of the plan's
    sbx("exec", "box", "sh", "-c", "echo kept > ~/kept; pkill sleep")  # nor is what goes on inside
    sbx("apply", "-y", "saved")
    assert sbx("exec", "box", "sh", "-c", "echo $ROUND; cat ~/kept").stdout == "1\nkept\n"

    write(sbx, 2, SPARE)
    sbx("plan", "-o", "saved", "--target", "box")
    sbx("network", "proxy", "box", "--allow-host", "cdn.example.com")
    refused = sbx("apply", "-y", "saved", code=1).stderr
    assert "the plan is stale, and nothing was changed" in refused
    assert "sandbox box: `policy` of what was applied has changed" in refused
    assert "spare" not in refused
    assert sbx("exec", "box", "sh", "-c", "echo $ROUND").stdout == "1\n"
    sbx("down", "-y")


def test_drift_names_what_moved_and_nothing_else_and_up_mends_it(sbx):
    write(sbx)
    sbx("up", "-y")
    assert drift(sbx, 0)[0] == []
    write(sbx, 1)  # what the file asks for now is no drift
    assert drift(sbx, 0)[0] == []
    sbx("up", "-y")
    boot = sbx("exec", "box", "cat", "/proc/sys/kernel/random/boot_id").stdout

    sbx.qmp("stop")
    moved, said = drift(sbx)
    assert moved == [("status", "running", "paused")]
    assert said["mending"] == "`sbx up` resumes it"
    mend(sbx)

    sbx("network", "proxy", "box", "--allow-host", "cdn.example.com", "--block-host", "api.example.com")
    [(path, _, found)], said = drift(sbx)
    assert path == "policy"
    assert found.endswith(": allow cdn.example.com; block api.example.com")
    assert said["mending"] == "`sbx up` brings it back while it runs"
    mend(sbx)

    [share] = [name["name"] for name in sbx.qmp("qom-list", path="/machine/peripheral") if "ws2" in name["name"]]
    sbx.qmp("device_del", id=share)
    sbx.wait_for(lambda: sbx("drift", any_code=True).code == 2)
    [(path, applied, found)], said = drift(sbx)
    assert path == "workspaces./docs"
    assert applied.startswith(f"rw from {sbx.project / 'docs'}")
    assert found == "(none)"
    mend(sbx)
    sbx("exec", "box", "touch", "/docs/written")
    assert (sbx.project / "docs/written").exists()
    assert sbx("exec", "box", "cat", "/proc/sys/kernel/random/boot_id").stdout == boot

    # With `restart: no` a main process may end.
    sbx("exec", "box", "pkill", "sleep")
    sbx.wait_for(lambda: main_process(sbx) == "exited")
    assert drift(sbx, 0)[0] == []

    for role in ("qemu", "supervisor"):
        kill(sbx, role)
        moved, said = drift(sbx)
        assert moved == [("status", "running", "stopped")]
        assert (said["mending"], said["loses_disk"]) == ("`sbx up` starts it", False)
        mend(sbx)
        assert main_process(sbx) == "running"

    sbx("exec", "box", "sh", "-c", "echo precious > ~/precious")
    kill(sbx, "supervisor")
    (sbx.state / "sandboxes/moved/box/disk.qcow2").unlink()
    moved, said = drift(sbx)
    assert moved == [("status", "running", "stopped"), ("disk", "present", "deleted")]
    assert (said["mending"], said["loses_disk"]) == ("`sbx up` replaces it", True)
    mend(sbx)
    assert sbx("exec", "box", "sh", "-c", "ls ~/precious", any_code=True).code != 0
    sbx("down", "-y")


def mend(sbx):
    sbx("up", "-y")
    assert drift(sbx, 0)[0] == []
    sbx("plan", "--detailed-exitcode", code=0)


def main_process(sbx):
    return json.loads(sbx("status", "box", "--format", "json").stdout)["machine"]["main"]["status"]
