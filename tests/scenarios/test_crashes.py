"""SIGKILL, one process at a time: afterwards `sbx up` converges, nothing runs that should not, no disk is lost."""

import json
import os
import signal

import pytest

pytestmark = pytest.mark.vm

FILE = """\
name: crash
sandboxes:
  box:
    workspaces: [.]
    resources: {cpus: 1, memory: 384MiB, disk: 4GiB}
    setup: ["echo first >> setup-log", "echo second >> setup-log"]
    env: {ROUND: "%s"}
    protect: true
"""


def test_killing_any_process_loses_nothing(sbx):
    sbx.write(FILE % 0)
    sbx("up", "-y")
    sbx("exec", "box", "sh", "-c", "echo precious > ~/precious; sync")
    for role in ("supervisor", "qemu", "virtiofsd"):
        victims = sbx.processes(role)
        assert victims, role
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        if role != "virtiofsd":
            sbx.wait_for(lambda: not sbx.processes())
            states = [row["status"] for row in json.loads(sbx("ls", "-a", "--format", "json").stdout)]
            assert states == ["stopped"]
        sbx.wait_for(lambda: sbx("plan", "--detailed-exitcode", any_code=True).code == 2)
        sbx("up", "-y")
        assert sbx("exec", "box", "sh", "-c", "cat ~/precious; touch still-writable").stdout == "precious\n"
        assert sbx("plan", "--detailed-exitcode", code=0)
    assert (sbx.project / "setup-log").read_text() == "first\nsecond\n"
    sbx("down", "-y", "--allow-destroy")


def test_killing_the_command_line_at_each_step_converges(sbx):
    """Each line of progress is a moment to be killed at: so every step of the first apply is cut at least once."""
    sbx.write(FILE % 0)
    moment = 0
    while True:
        moment += 1
        client = sbx.popen("up", "-y")
        for line, _ in enumerate(client.stderr, 1):
            if line == moment:
                break
        else:
            assert client.wait(60) == 0
            break
        os.kill(client.pid, signal.SIGKILL)
        client.wait(10)
        if moment % 2:  # every other time the next apply starts from where the killed one stopped, not from scratch
            sbx("up", "-y")
            assert sbx("plan", "--detailed-exitcode", code=0)
            assert sbx("exec", "box", "echo", "alive").stdout == "alive\n"
            assert sorted(set((sbx.project / "setup-log").read_text().split())) == ["first", "second"]
            sbx("down", "-y", "--allow-destroy")
            (sbx.project / "setup-log").unlink()
            sbx.wait_for(lambda: not sbx.processes())
    assert moment > 4
    sbx("down", "-y", "--allow-destroy")


def test_two_applies_at_once_do_not_mix(sbx):
    sbx.write(FILE % 0)
    first = sbx.popen("up", "-y")
    sbx.wait_for(lambda: sbx.lock_is_held("crash"))
    refused = sbx("up", "-y", "--lock-timeout", "0", code=1)
    assert "another sbx" in refused.stderr
    waited = sbx("up", "-y", "--lock-timeout", "120")
    first.stderr.read()
    assert first.wait(60) == 0
    assert waited.code == 0
    assert sbx("plan", "--detailed-exitcode", code=0)
    sbx("down", "-y", "--allow-destroy")


def test_what_is_done_to_qemu_behind_our_back_is_a_difference_that_up_mends(sbx, tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    sbx.write((FILE % 0).replace("[.]", f"[., {docs}]"))
    sbx("up", "-y")
    boot = sbx("exec", "box", "cat", "/proc/sys/kernel/random/boot_id").stdout
    (share,) = [name for name in sbx.qmp("qom-list", path="/machine/peripheral") if "ws2" in name["name"]]
    for interference, told in (
        (lambda: sbx.qmp("stop"), "paused"),
        (lambda: sbx.qmp("device_del", id=share["name"]), str(docs)),
    ):
        interference()
        sbx.wait_for(lambda: sbx("plan", "--detailed-exitcode", any_code=True).code == 2)
        assert told in sbx("plan").stdout
        sbx("up", "-y")
        assert sbx("plan", "--detailed-exitcode", code=0)
        sbx("exec", "box", "touch", str(docs / "written"))
    for pid in sbx.processes("qemu"):
        os.kill(pid, signal.SIGSTOP)  # a supervisor that waits for a stopped QEMU still answers
    sbx("ls", "-a")
    for pid in sbx.processes("qemu"):
        os.kill(pid, signal.SIGCONT)
    assert sbx("exec", "box", "cat", "/proc/sys/kernel/random/boot_id").stdout == boot

    for interference in (
        lambda: sbx("exec", "-u", "root", "box", "/run/sbx/bin/sbx-poweroff", any_code=True),
        lambda: sbx.qmp("quit"),
    ):
        interference()
        sbx.wait_for(lambda: not sbx.processes())
        assert "stopped" in sbx("plan", "--detailed-exitcode", code=2).stdout
        sbx("up", "-y")
        assert sbx("exec", "box", "true")
    sbx("down", "-y", "--allow-destroy")
