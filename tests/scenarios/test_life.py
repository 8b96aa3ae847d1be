"""A sandbox's healthcheck, which changes while it runs, and its sleep, from which its next use wakes it."""

import json
import os
import signal

import pytest

pytestmark = pytest.mark.vm

FILE = """\
name: life
sandboxes:
  box:
    resources: {{cpus: 1, memory: 512MiB, disk: 4GiB}}
    workspaces: [./work]
    env: {{COLOUR: {colour}}}
{more}"""
OFTEN = "interval: 500ms, timeout: 20s, retries: 2"
WELL = f"    healthcheck: {{command: [test, -e, well], {OFTEN}}}\n"


def write(sbx, more, colour="red"):
    (sbx.project / "work").mkdir(exist_ok=True)
    sbx.write(FILE.format(more=more, colour=colour))


def status(sbx):
    return json.loads(sbx("status", "box", "--format", "json").stdout)


def wait_for_check(sbx, wanted):
    sbx.wait_for(lambda: status(sbx)["check"] == wanted)


def test_health_is_what_the_command_says_and_the_command_changes_live(sbx):
    write(sbx, WELL)
    well = sbx.project / "work/well"
    well.touch()
    sbx("up", "-y", "--wait")
    boot = sbx("exec", "box", "cat", "/proc/sys/kernel/random/boot_id").stdout
    assert status(sbx)["check"] == "healthy"
    assert "running (healthy)" in sbx("ls").stdout

    well.unlink()
    wait_for_check(sbx, "unhealthy")
    failed = sbx("up", "-y", "--wait", code=1)
    assert "life/box is unhealthy" in failed.stderr
    assert "it exited with 1" in failed.stderr
    assert "No drift" in sbx("drift").stdout

    well.touch()
    wait_for_check(sbx, "healthy")

    # One that never ends fails for its time, is ended inside, and shows what it printed.
    slow = "healthcheck: {command: 'echo working on it; exec sleep 98765', interval: 500ms, timeout: 1s, retries: 1}"
    write(sbx, f"    {slow}\n")
    plan = sbx("plan").stdout
    assert "healthcheck.command" in plan
    assert "live" in plan
    sbx("up", "-y")
    wait_for_check(sbx, "unhealthy")
    page = sbx("status", "box").stdout
    assert "it did not end within 1s" in page
    assert "working on it" in page

    write(sbx, "")
    sbx("up", "-y", "--wait")
    assert status(sbx)["check"] == "none"
    processes = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
    sbx.wait_for(lambda: "98765" not in sbx("exec", "box", "sh", "-c", processes, any_code=True).stdout)
    assert sbx("exec", "box", "cat", "/proc/sys/kernel/random/boot_id").stdout == boot
    sbx("down", "-y")


def test_what_nobody_uses_goes_to_sleep_and_its_next_use_wakes_it(sbx):
    write(sbx, f"    idle_stop: 1m\n{WELL}")  # that it is looked at is no use
    sbx("up", "-y")
    sbx("exec", "box", "sh", "-c", "echo kept > ~/kept")
    sbx.wait_for(lambda: status(sbx)["asleep"], timeout=180)
    assert sbx.processes("qemu") == []

    assert "stopped (asleep)" in sbx("ls").stdout
    sbx("plan", "--detailed-exitcode", code=0)
    assert "No drift" in sbx("drift").stdout
    write(sbx, "    idle_stop: 1m\n", colour="blue")
    sbx("up", "-y", "--wait")
    assert status(sbx)["asleep"]

    woken = sbx("exec", "box", "sh", "-c", "cat ~/kept; echo $COLOUR")
    assert woken.stdout == "kept\nblue\n"
    assert woken.stderr == "life/box is asleep: starting it\n"
    assert not status(sbx)["asleep"]
    sbx("plan", "--detailed-exitcode", code=0)

    # Killed while it is awake, it is not asleep: somebody may have been at work in it.
    for pid in sbx.processes("supervisor"):
        os.kill(pid, signal.SIGKILL)
    sbx.wait_for(lambda: sbx.processes("qemu") == [])
    assert not status(sbx)["asleep"]
    assert "is not running" in sbx("exec", "box", "true", code=125).stderr
    sbx("plan", "--detailed-exitcode", code=2)
    sbx("down", "-y")
