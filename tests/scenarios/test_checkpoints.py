"""Back to an earlier state: of a disk by checkpoints, of a project by `rollback`; and on from one state twice."""

import json
import os
import signal

import pytest

pytestmark = pytest.mark.vm

FILE = """\
name: shop
sandboxes:
  web:   # keeps its comment
    workspaces: [.]
    resources: {cpus: 1, memory: 384MiB, disk: 4GiB}
    env: {ROUND: "1"}
"""
COUNT = "i=0; while :; do i=$((i+1)); echo $i >~/count.new; mv ~/count.new ~/count; done"


def inside(sbx, name, script):
    return sbx("exec", name, "sh", "-c", script).stdout.strip()


def labels(sbx, name):
    return [row["label"] for row in json.loads(sbx("checkpoint", "--list", name, "--format", "json").stdout)]


def test_a_disk_is_kept_while_programs_write_and_comes_back_and_goes_on_twice(sbx):
    sbx.write(FILE)
    sbx("up", "-y")
    boot = inside(sbx, "web", "cat /proc/sys/kernel/random/boot_id")
    inside(sbx, "web", "echo precious > ~/precious; echo old > ~/state; sync")
    sbx("exec", "-d", "web", "sh", "-c", COUNT)
    sbx.wait_for(lambda: inside(sbx, "web", "cat ~/count 2>/dev/null || echo 0") != "0")

    sbx("checkpoint", "web", "good")
    assert labels(sbx, "web") == ["good"]
    assert "already" in sbx("checkpoint", "web", "good", code=1).stderr
    assert json.loads(sbx("status", "web", "--format", "json").stdout)["status"] == "running"
    before, after = inside(sbx, "web", "cat ~/count"), inside(sbx, "web", "sleep 2; cat ~/count")
    assert int(after) > int(before), "it goes on"
    assert sbx("plan", "--detailed-exitcode", code=0)

    inside(sbx, "web", "rm ~/precious; echo new > ~/state; sync")
    sbx("fork", "web", "other", "--overcommit")
    sbx("fork", "web", "earlier", "--checkpoint", "good", "--no-start")
    assert inside(sbx, "other", "cat ~/state; cat /etc/hostname") == "new\nother"
    identities = {inside(sbx, name, "cat /etc/machine-id") for name in ("web", "other")}
    assert len(identities) == 2
    assert inside(sbx, "web", "cat /proc/sys/kernel/random/boot_id") == boot
    sbx("exec", "other", "sh", "-c", "echo changed > ~/state")
    assert inside(sbx, "web", "cat ~/state") == "new"
    assert labels(sbx, "other") == []
    sbx("rm", "-y", "other")
    sbx("start", "earlier")
    assert inside(sbx, "earlier", "cat ~/precious ~/state") == "precious\nold"
    assert int(inside(sbx, "earlier", "cat ~/count")) > 0
    sbx("rm", "-y", "earlier")

    sbx("restore", "-y", "--keep", "web", "good")
    assert inside(sbx, "web", "cat ~/precious ~/state") == "precious\nold"
    assert sbx("plan", "--detailed-exitcode", code=0)
    (kept,) = set(labels(sbx, "web")) - {"good"}

    # Killed while it copies, and when it has: the one disk or the other, and the sandbox starts.
    for word in ("copying the disk", "start web"):
        client = sbx.popen("restore", "-y", "web", kept)
        assert any(word in line for line in client.stderr)
        os.kill(client.pid, signal.SIGKILL)
        client.wait(10)
        sbx("up", "-y")
        assert inside(sbx, "web", "cat ~/state ~/precious 2>/dev/null; true") in ("old\nprecious", "new")

    sbx("checkpoint", "--rm", "web", kept)
    sbx("rename", "-y", "web", "shop-web")
    assert "  shop-web:   # keeps its comment\n" in sbx.file.read_text()
    assert labels(sbx, "shop-web") == ["good"]
    assert inside(sbx, "shop-web", "cat /etc/hostname") == "shop-web"
    sbx("up", "-y")
    assert sbx("plan", "--detailed-exitcode", code=0)
    sbx("down", "-y")
    sbx.wait_for(lambda: not sbx.processes())


def test_after_a_failed_up_rollback_brings_the_old_sandboxes_with_their_disks_back(sbx):
    sbx.write(FILE)
    sbx("up", "-y")
    inside(sbx, "web", "echo precious > ~/precious; sync")
    bad = FILE.replace('{ROUND: "1"}', '{ROUND: "2"}\n    agent: shell\n    setup: ["exit 3"]') + (
        "  more:\n    resources: {cpus: 1, memory: 384MiB, disk: 4GiB}\n"
    )
    sbx.write(bad)
    failed = sbx("up", "-y", "--overcommit", "--replace", "web", code=1)
    assert "sbx rollback" in failed.stderr
    assert inside(sbx, "web", "ls ~/precious 2>/dev/null || echo gone") == "gone"
    sbx("up", "-y", "--overcommit", code=1)  # trying again does not make the broken state the good one
    said = sbx("rollback", "-y", "--overcommit").stderr
    assert "web" in said
    assert inside(sbx, "web", "cat ~/precious; echo $ROUND") == "precious\n1"
    assert [row["id"] for row in json.loads(sbx("ls", "-a", "--format", "json").stdout)] == ["shop/web"]
    sbx.write(FILE)
    assert sbx("plan", "--detailed-exitcode", code=0)

    sbx.write(bad)
    failed = sbx("up", "-y", "--overcommit", "--replace", "web", "--rollback-on-failure", code=1)
    assert "going back" in failed.stderr
    sbx.write(FILE)
    assert sbx("plan", "--detailed-exitcode", code=0)
    assert inside(sbx, "web", "cat ~/precious") == "precious"
    sbx("down", "-y")
