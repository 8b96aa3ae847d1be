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

    # What comes up and does not become healthy has failed as well, for who waits for it.
    sbx.write(
        FILE.replace('{ROUND: "1"}', '{ROUND: "3"}\n    healthcheck: {command: "exit 7", retries: 1, interval: 1s}')
    )
    waiting = ("up", "-y", "--overcommit", "--wait", "--rollback-on-failure")
    assert "web is unhealthy\ngoing back" in sbx(*waiting, code=1).stderr
    assert inside(sbx, "web", "cat ~/precious; echo $ROUND") == "precious\n1"
    sbx.write(FILE)
    assert sbx("plan", "--detailed-exitcode", code=0)
    sbx("down", "-y")


def test_disks_at_risk_are_kept_before_an_apply_and_come_back_after_a_replacement_and_a_removal(sbx):
    file = FILE.replace("    workspaces: [.]\n", "")  # whose files it could write is another story
    (sbx.file.parent / "motd").write_text("another image\n")
    old = "  old:\n    resources: {cpus: 1, memory: 384MiB, disk: 4GiB}\n"
    sbx.write(file + old)
    sbx("up", "-y", "--overcommit")
    for name in ("web", "old"):
        inside(sbx, name, "echo precious > ~/precious; sync")
    template = "templates: {dev: {base: shell, files: [{source: ./motd, target: /etc/marker}]}}\n"
    another = file.replace("name: shop\n", f"name: shop\n{template}").replace("    env:", "    template: dev\n    env:")

    sbx.write(another)
    planned = json.loads(sbx("plan", "--checkpoint", "--remove-orphans", "--format", "json").stdout)
    kept = {change["subject"]: change["checkpoint"] for change in planned["changes"] if change["checkpoint"]}
    assert kept.keys() == {"sandbox web", "sandbox old"}
    client = sbx.popen("up", "-y", "--overcommit", "--checkpoint", "--remove-orphans")
    assert any("copying the disk" in line for line in client.stderr)
    os.kill(client.pid, signal.SIGKILL)  # in the middle: nothing is half, nothing was changed
    client.wait(10)
    assert inside(sbx, "web", "cat ~/precious") == "precious"
    ended = labels(sbx, "web")  # whoever copied for it may have gone on to the end, or do so now
    said = sbx("up", "-y", "--overcommit", "--checkpoint", "--remove-orphans").stderr
    assert list(sbx.state.rglob(".checkpoints/*/.new-*")) == []
    assert "before that its disk is kept as the checkpoint before-" in said
    assert inside(sbx, "web", "ls ~/precious 2>/dev/null || cat /etc/marker") == "another image"
    label = max(labels(sbx, "web"))
    assert label not in ended
    assert max(labels(sbx, "old")) == label
    sbx("prune", "-y", "--kept")  # what `rollback` would bring back is gone by now; checkpoints are not

    kept_before = len(labels(sbx, "web"))
    assert "shell is its template again" in sbx("restore", "-y", "--keep", "web", label).stderr
    assert inside(sbx, "web", "cat ~/precious; ls /etc/marker 2>/dev/null || echo old image") == "precious\nold image"
    assert "replace (template changed)" in sbx("plan").stdout
    sbx.write(file)
    assert sbx("plan", "--detailed-exitcode", code=0)

    # A plan that was saved is done as it is, and disks are kept before it. What is gone is of use for another one.
    sbx.write(another)
    sbx("plan", "-o", str(sbx.file.parent / "change.plan"))
    sbx("apply", "-y", "--overcommit", "--checkpoint", str(sbx.file.parent / "change.plan"))
    assert len(labels(sbx, "web")) == kept_before + 2
    assert "only its checkpoints" in sbx("restore", "-y", "old", label, code=1).stderr
    sbx("fork", "old", "again", "--checkpoint", label, "--overcommit")
    assert inside(sbx, "again", "cat ~/precious") == "precious"
    sbx("rm", "-y", "again")
    for each in labels(sbx, "old"):
        sbx("checkpoint", "--rm", "old", each)
    sbx("down", "-y")
    assert json.loads(sbx("checkpoint", "--list", "--format", "json").stdout) == []
