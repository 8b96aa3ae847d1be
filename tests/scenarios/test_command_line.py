"""The commands around a running sandbox: what they show, and how they end."""

import json
import signal

import pexpect
import pytest

pytestmark = pytest.mark.vm

FILE = """\
name: around
sandboxes:
  svc:
    workspaces: [.]
    resources: {cpus: 1, memory: 256MiB, disk: 4GiB}
    command: ["sh", "-c", "echo began; while sleep 0.3; do echo beat; done"]
  job:
    resources: {cpus: 1, memory: 256MiB, disk: 4GiB}
    command: ["sh", "-c", "sleep 1; exit 4"]
"""


def test_what_runs_is_shown_followed_entered_and_deleted(sbx):
    sbx.write(FILE)
    assert (
        "emulated" in sbx("up", "-y", "svc", "--wait").stderr
        or json.loads(sbx("status", "svc", "--format", "json").stdout)["machine"]["accelerator"] == "kvm"
    )
    sbx("up", "-y")
    ended = sbx.wait_for(lambda: (found := sbx("up", "-y", "--wait", any_code=True)).code == 1 and found)
    assert "around/job exited with 4" in ended.stderr

    assert sbx("ls", "-q").stdout == "around/job\naround/svc\n"
    status = sbx("status", "svc").stdout
    assert f"{sbx.project} (rw)" in status
    assert "running" in status
    logs = sbx("logs", "svc").stdout
    assert "console | " in logs
    assert "main    | began" in logs
    assert sbx("logs", "svc", "--main", "-n", "1").stdout == "beat\n"

    follower = sbx.popen("logs", "-f", "svc", "--main", "-n", "0")
    assert [follower.stdout.readline() for _ in range(3)] == ["beat\n"] * 3
    follower.send_signal(signal.SIGINT)
    assert follower.wait(20) == 130

    shell = pexpect.spawn(
        sbx.argv[0],
        [*sbx.argv[1:], "shell", "svc"],
        env=sbx.environment,
        cwd=str(sbx.project),
        timeout=30,
        encoding="utf-8",
    )
    shell.expect("agent@svc")
    shell.sendline("shopt -q login_shell; echo login-$?")
    shell.expect("login-0")
    shell.sendline("exit 6")
    shell.expect(pexpect.EOF)
    shell.close()
    assert shell.exitstatus == 6

    sbx("stop", "svc", "job")
    assert sbx("ls").stdout.splitlines()[1:] == []
    assert "is not running" in sbx("exec", "svc", "true", code=125).stderr
    assert "nothing to do" in sbx("stop", "svc").stderr
    sbx("restart", "svc")
    assert "THE DISK IS LOST" in sbx("rm", "svc", code=1).stderr
    sbx("rm", "-f", "svc", "nobody")
    record = sbx.state / "sandboxes/around/job/record.json"
    record.write_text("{")
    assert "unreadable" in sbx("ls", "-a").stdout
    sbx("rm", "-y", "job", code=1)
    sbx("reset", "-y")
    assert json.loads(sbx("ls", "-a", "--format", "json").stdout) == []
