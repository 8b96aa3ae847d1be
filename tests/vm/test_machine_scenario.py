"""The machine in its jail: what QEMU is, sees and may; what the guest sees; how it ends."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import anyio
import pytest

from sandboxfile.errors import MachineError
from sandboxfile.vm.disks import create_overlay, disk_size
from sandboxfile.vm.launch import BootFiles, start_machine
from sandboxfile.vm.machine import SLOTS, MachineSpec

pytestmark = [pytest.mark.vm, pytest.mark.anyio]

MEBIBYTE = 1 << 20


def status(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.split() for name, _, value in (line.partition(":") for line in lines)}


async def test_qemu_has_no_capability_no_privilege_to_gain_and_two_filters(guest):
    found = status(guest.machine.pid)
    assert {found[f"Cap{kind}"][0] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert found["NoNewPrivs"] == ["1"]
    assert found["Seccomp"] == ["2"]
    assert found["Seccomp_filters"] == ["2"]
    assert found["NSpid"][-1] == "1"
    assert "0" not in found["Uid"]
    assert found["Groups"] == [] or os.getuid() != 0


async def test_qemu_is_in_namespaces_of_its_own(guest):
    for kind in ("user", "net", "ipc", "mnt", "pid", "uts", "cgroup"):
        theirs, ours = Path(f"/proc/{guest.machine.pid}/ns/{kind}"), Path(f"/proc/self/ns/{kind}")
        assert theirs.readlink() != ours.readlink(), kind


async def test_qemu_sees_no_path_of_the_host_that_it_could_write(guest):
    root = Path(f"/proc/{guest.machine.pid}/root")
    assert {entry.name for entry in root.iterdir()} <= {
        *("config", "dev", "firmware", "initrd", "vmlinux", "lib", "lib64", "usr")
    }
    assert {entry.name for entry in (root / "dev").iterdir()} == {"null", "zero", "urandom"}
    mounts = [line.split() for line in Path(f"/proc/{guest.machine.pid}/mountinfo").read_text().splitlines()]
    writable = [fields[4] for fields in mounts if "rw" in fields[5].split(",") and not fields[4].startswith("/dev/")]
    assert writable == []
    interfaces = Path(f"/proc/{guest.machine.pid}/net/dev").read_text().splitlines()[2:]
    assert [line.split(":")[0].strip() for line in interfaces] == ["lo"]


async def test_qemu_is_limited(guest):
    limits = Path(f"/proc/{guest.machine.pid}/limits").read_text()
    assert re.search(r"Max core file size +0 +0", limits)
    assert re.search(r"Max address space +\d+ +\d+", limits)


async def test_the_guest_has_its_disks_its_configuration_and_one_network_device(guest):
    assert await guest.run("cat /sys/firmware/qemu_fw_cfg/by_name/opt/sbx/config/raw") == "answer=42"
    assert await guest.run("head -n 1 /dev/vda; blockdev --getsize64 /dev/vda") == f"the image\n{256 * MEBIBYTE}"
    assert await guest.run("blockdev --getro /dev/vdb") == "1"
    assert await guest.run("ls /sys/class/net") == "eth0\nlo"
    assert len((await guest.run("ls /sys/bus/pci/slots")).split()) == SLOTS


async def test_what_the_guest_writes_stays_in_its_overlay(guest, host):
    await guest.run("echo changed | dd of=/dev/vda conv=notrunc 2>/dev/null; sync")
    assert host.base.read_bytes()[:10] == b"the image\n"
    assert await guest.run("head -n 1 /dev/vda") == "changed"


async def test_qmp_tells_the_machine_as_it_is_and_a_disk_grows_while_it_runs(guest, host):
    qmp = guest.machine.qmp
    assert (await qmp.status(), await qmp.cpus(), await qmp.memory()) == ("running", 2, 384 * MEBIBYTE)
    await qmp.grow_disk(512 * MEBIBYTE)
    assert await qmp.disk_size() == await disk_size(host.layout.state / "disk.qcow2") == 512 * MEBIBYTE
    assert await guest.run("blockdev --getsize64 /dev/vda") == str(512 * MEBIBYTE)
    await qmp.execute("stop")
    assert await qmp.status() == "paused"
    await qmp.resume()
    assert await qmp.status() == "running"


async def test_a_machine_ends_by_quit_or_kill_and_says_so(host):
    async with host.boot() as guest:
        await guest.machine.qmp.quit()
        with anyio.fail_after(10):
            assert await guest.machine.wait() == 0
        with pytest.raises(MachineError):
            await guest.machine.qmp.status()
    async with host.boot() as guest:
        assert await guest.machine.kill() == 128 + signal.SIGKILL
        assert not Path(f"/proc/{guest.machine.pid}").exists()


async def test_a_machine_that_does_not_start_tells_why_and_leaves_nothing(host):
    before = children()
    broken = host.layout.state / "broken.qcow2"
    broken.write_bytes(b"no qcow2 at all" * 100)
    spec = MachineSpec(1, 128 * MEBIBYTE, "tcg", None, ("sbx.0",))
    files = BootFiles(host.platform.vmlinux, host.initrd, host.platform.tools, host.base, broken)
    with pytest.raises(MachineError) as caught:
        await start_machine(spec, files, b"", run_as=host.ids.run_as, ports=())
    assert "not in qcow2 format" in caught.value.output
    assert children() == before


FORBIDDEN = """
import anyio, errno, os, sys
import pyseccomp
from pathlib import Path
from sandboxfile.errors import HostError
from sandboxfile.vm.ids import RunAs
from sandboxfile.vm.launch import BootFiles, start_machine
from sandboxfile.vm.machine import MachineSpec

program = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
program.add_rule(pyseccomp.ERRNO(errno.EPERM), "unshare")
program.load()

async def main():
    spec = MachineSpec(1, 128 << 20, "tcg", None, ("sbx.0",))
    run_as = RunAs(54321, 54321) if os.geteuid() == 0 else None
    await start_machine(spec, BootFiles(*map(Path, sys.argv[1:])), b"", run_as=run_as, ports=())

try:
    anyio.run(main)
except HostError as exc:
    print(exc.message)
    print(exc.hint)
    print("children:", Path(f"/proc/self/task/{os.getpid()}/children").read_text())
"""


async def test_where_namespaces_are_forbidden_nothing_is_started(host):
    disk = host.layout.state / "unused.qcow2"
    disk.write_bytes(b"")
    files = (host.platform.vmlinux, host.initrd, host.platform.tools, host.base, disk)
    done = await anyio.run_process([sys.executable, "-c", FORBIDDEN, *map(str, files)])
    message, hint, left = done.stdout.decode().strip().splitlines()
    assert message == "cannot jail QEMU: unshare: Operation not permitted"
    assert "user namespaces must be allowed" in hint
    assert left == "children:"


OWNER = """
import anyio, os, sys
from pathlib import Path
from sandboxfile.host.layout import Layout
from sandboxfile.model.desired import Workspace
from sandboxfile.vm.ids import id_map
from sandboxfile.vm.launch import BootFiles, start_machine
from sandboxfile.vm.machine import MachineSpec
from sandboxfile.vm.shares import serve_share

async def main():
    state, cache, runtime, workspace, *files = map(Path, sys.argv[1:])
    ids = id_map(Layout(state, cache, runtime), os.getuid(), os.getgid())
    spec = MachineSpec(1, 128 << 20, "tcg", None, ("sbx.0",))
    machine = await start_machine(spec, BootFiles(*files), b"", run_as=ids.run_as, ports=())
    share = await serve_share(Workspace(str(workspace), "/w"), ids, runtime)
    await machine.plug_share("ws", share)
    print(machine.pid, share.pid, flush=True)
    await anyio.sleep_forever()

anyio.run(main)
"""


async def test_when_its_owner_is_killed_machine_jail_and_file_servers_die_within_a_second(host, workspace_root):
    disk = host.layout.state / "owned.qcow2"
    await create_overlay(host.base, disk, 64 * MEBIBYTE)
    layout, platform = host.layout, host.platform
    files = (platform.vmlinux, host.initrd, platform.tools, host.base, disk)
    arguments = [layout.state, layout.cache, layout.runtime, workspace_root, *files]
    owner = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OWNER, *map(str, arguments)), stdout=subprocess.PIPE
    )
    assert owner.stdout is not None
    with anyio.fail_after(30):
        pids = {int(word) for word in (await owner.stdout.readline()).split()}
    family = pids | descendants(owner.pid)
    assert len(family) >= 5, "the monitor of the jail, QEMU, the opener of ports, virtiofsd and its inner process"
    owner.kill()
    await owner.wait()
    killed = time.monotonic()
    while any(alive(pid) for pid in family):
        assert time.monotonic() - killed < 1.0
        await anyio.sleep(0.01)


def descendants(pid):
    found = set()
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found |= {int(child)} | descendants(int(child))
    return found


def children():
    return descendants(os.getpid())


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
