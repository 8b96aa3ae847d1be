"""Volumes on running machines: what is on them stays, one sandbox at a time has them, and all changes are live."""

import json
import os
import signal

import pytest

pytestmark = pytest.mark.vm

BOX = "resources: {cpus: 1, memory: 512MiB, disk: 4GiB}"
BOOT = ("cat", "/proc/sys/kernel/random/boot_id")


def write(sbx, *, size="1GiB", **mounts):
    """A file with one sandbox for each name, with these mounts."""
    sandboxes = "".join(f"  {name}: {{{BOX}, volumes: {json.dumps(found)}}}\n" for name, found in mounts.items())
    sbx.write(f"name: disks\nvolumes:\n  data: {{size: {size}}}\n  other: {{size: 1GiB}}\nsandboxes:\n{sandboxes}")


def shell(sbx, command, name="box", **options):
    return sbx("exec", name, "sh", "-c", command, **options).stdout


def mounts_of(sbx, name):
    return json.loads(sbx("status", "--format", "json", name).stdout)["machine"]["mounts"]


def nothing_to_do(sbx):
    assert sbx("plan", "--detailed-exitcode", code=0)


def test_what_is_on_a_volume_outlives_its_sandbox_and_a_stranger_to_the_disk_may_not_have_it(sbx):
    write(sbx, box=["data:/home/agent/data"])
    assert "volume data: create" in sbx("plan").stdout
    sbx("up", "-y")
    assert shell(sbx, "ls -A data; stat -c %U data; echo kept > data/file") == "agent\n"
    assert "nodev" in shell(sbx, "grep /home/agent/data /proc/mounts")
    nothing_to_do(sbx)
    sbx("rm", "-y", "box")
    sbx("up", "-y")
    assert shell(sbx, "cat data/file") == "kept\n"
    sbx("down", "-y")
    [listed] = json.loads(sbx("volume", "ls", "--format", "json").stdout)
    assert (listed["id"], listed["size"], listed["holder"]) == ("disks/data", 1 << 30, None)
    sbx("up", "-y")
    assert shell(sbx, "cat data/file") == "kept\n"
    assert "belongs to the sandbox box" in sbx("volume", "rm", "-y", "data", code=1).stderr
    sbx("down", "-y", "--volumes")
    assert json.loads(sbx("volume", "ls", "--format", "json").stdout) == []
    assert not list((sbx.state / "volumes").rglob("*.qcow2"))


def test_volumes_come_grow_and_go_while_the_machine_runs(sbx):
    write(sbx, box=[])
    sbx("up", "-y")
    boot = sbx("exec", "box", *BOOT).stdout
    write(sbx, box=["data:/data", "other:/srv/other"])
    plan = sbx("plan").stdout
    assert "volumes./data: (none) -> data (live" in plan
    sbx("up", "-y")
    shell(sbx, "echo one > /data/file; echo two > /srv/other/file")
    assert mounts_of(sbx, "box") == [
        {"target": "/data", "volume": "data"},
        {"target": "/srv/other", "volume": "other"},
    ]

    write(sbx, size="3GiB", box=["data:/data", "other:/srv/other"])
    assert "volume data: update (size changed)" in sbx("plan").stdout
    sbx("up", "-y")
    assert int(shell(sbx, "df -k --output=size /data | tail -n 1")) > 2_800_000
    nothing_to_do(sbx)

    # One that a program uses stays, and the program is named.
    write(sbx, size="3GiB", box=["other:/srv/other"])
    sbx("exec", "-d", "box", "sh", "-c", "cd /data && exec sleep 1000")
    sbx.wait_for(lambda: "sleep" in shell(sbx, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"))
    refused = sbx("up", "-y", code=1).stderr
    assert "cannot be unmounted" in refused
    assert "sleep 1000" in refused
    assert shell(sbx, "cat /data/file") == "one\n"
    shell(sbx, "pkill -x sleep")
    sbx("up", "-y")
    shell(sbx, "test ! -e /data")
    assert sbx("exec", "box", *BOOT).stdout == boot
    nothing_to_do(sbx)
    write(sbx, size="2GiB", box=["data:/data"])
    assert "Volume cannot shrink" in sbx("plan", code=1).stderr
    sbx("down", "-y", "--volumes")


def test_a_volume_that_somebody_unplugged_is_drift_and_comes_back(sbx):
    write(sbx, box=["data:/data"])
    sbx("up", "-y")
    shell(sbx, "echo kept > /data/file; sync")
    (disk,) = [each["name"] for each in sbx.qmp("qom-list", path="/machine/peripheral") if "volume" in each["name"]]
    sbx.qmp("device_del", id=disk)
    sbx.wait_for(lambda: mounts_of(sbx, "box") == [])
    assert "volumes./data: (none) (applied: data)" in sbx("drift", code=2).stdout
    sbx("up", "-y")
    assert shell(sbx, "cat /data/file") == "kept\n"
    shell(sbx, "echo more >> /data/file")
    nothing_to_do(sbx)
    sbx("restart", "box")
    assert shell(sbx, "cat /data/file") == "kept\nmore\n"
    sbx("down", "-y", "--volumes")


def test_a_volume_passes_from_one_sandbox_to_another_in_one_apply(sbx):
    write(sbx, first=["data:/data"], second=[])
    sbx("up", "-y")
    shell(sbx, "echo mine > /data/file; echo unsynced > /data/late", "first")
    boots = [sbx("exec", name, *BOOT).stdout for name in ("first", "second")]
    write(sbx, first=[], second=["data:/data"])
    sbx("up", "-y")
    assert shell(sbx, "cat /data/file /data/late", "second") == "mine\nunsynced\n"
    assert [sbx("exec", name, *BOOT).stdout for name in ("first", "second")] == boots
    nothing_to_do(sbx)

    # Back to the other one, which sorts before it and is stopped.
    sbx("stop", "first")
    write(sbx, first=["data:/data"], second=[])
    kept = sbx("up", "-y", "first", code=1).stderr
    assert "Volume in use" in kept
    sbx("up", "-y")
    assert shell(sbx, "cat /data/file", "first") == "mine\n"

    # Its sandbox is stopped: the disk is free.
    sbx("stop", "first")
    write(sbx, second=["data:/data"])
    sbx("up", "-y")
    assert shell(sbx, "cat /data/late", "second") == "unsynced\n"
    sbx("rm", "-y", "first")
    sbx("down", "-y", "--volumes")


def test_a_volume_inside_a_workspace_survives_every_kind_of_death(sbx):
    target = f"{sbx.project}/node_modules"
    text = f"name: disks\nvolumes: {{data: {{size: 1GiB}}}}\nsandboxes:\n  box: {{{BOX}, workspaces: [MODE], "
    text += f"volumes: ['data:{target}']}}\n"
    sbx.write(text.replace("MODE", "."))
    sbx("up", "-y")
    shell(sbx, f"echo kept > {target}/file; sync")
    assert not list((sbx.project / "node_modules").iterdir())

    # The workspace around it is mounted anew: it comes back.
    sbx.write(text.replace("MODE", "{source: ., protect: [secret]}"))
    sbx("up", "-y")
    assert shell(sbx, f"cat {target}/file") == "kept\n"
    nothing_to_do(sbx)

    for victim in ("supervisor", "qemu"):
        pids = sbx.processes(victim)
        assert pids
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        sbx.wait_for(lambda: "stopped" in sbx("ls", "-a").stdout)
        sbx("up", "-y")
        assert shell(sbx, f"cat {target}/file") == "kept\n"
        nothing_to_do(sbx)
    sbx("down", "-y", "--volumes")
