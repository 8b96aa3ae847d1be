"""A guest for the scenarios of this layer: the platform's own kernel and modules, and a root shell on a serial port.

What boots in product sandboxes is tested elsewhere; here the guest is an attacker with every right inside.
"""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import socket

import anyio
import pytest

from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import ensure_directories
from sandboxfile.images.boot import cpio
from sandboxfile.images.boot.platform import Platform, build_platform
from sandboxfile.model.desired import Workspace
from sandboxfile.vm.accel import tsc_khz
from sandboxfile.vm.disks import create_overlay
from sandboxfile.vm.ids import IdMap, id_map
from sandboxfile.vm.launch import BootFiles, RunningMachine, start_machine
from sandboxfile.vm.machine import MachineSpec
from sandboxfile.vm.shares import Share, serve_share

MEBIBYTE = 1 << 20
PORTS = ("sbx.0", "sbx.1")
# Unpacked over the platform's initramfs, whose /init it replaces.
SHELL_INIT = b"""#!/bin/busybox sh
/bin/busybox mkdir -p /tools /bin
/bin/busybox --install -s /bin
export PATH=/bin HOME=/
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module"; done </modules/order
until [ -b /dev/vdb ] && grep -q sbx.0 /sys/class/virtio-ports/*/name; do sleep 0.05; done
mount -t erofs -o ro /dev/vdb /tools
for name in fuse virtiofs qemu_fw_cfg; do
  find /tools/modules -name "$name.ko*" -exec insmod {} \\; 2>/dev/null
done
port=$(grep -lx sbx.0 /sys/class/virtio-ports/*/name)
exec 3<>"/dev/$(basename "$(dirname "$port")")"
echo SHELL >&3
exec sh <&3 >&3 2>&3
"""


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"  # qemu.qmp knows no other


@dataclass(frozen=True)
class Host:
    """What a machine is started from, and where."""

    layout: Layout
    platform: Platform
    initrd: Path
    base: Path
    ids: IdMap

    @asynccontextmanager
    async def boot(self) -> AsyncIterator["Guest"]:
        """A machine with a shell in it, and the file servers that the test gave it; all gone at the end."""
        disk = self.layout.state / "disk.qcow2"
        disk.unlink(missing_ok=True)
        await create_overlay(self.base, disk, 256 * MEBIBYTE)
        spec = MachineSpec(2, 384 * MEBIBYTE, "tcg", await tsc_khz(), PORTS)
        files = BootFiles(self.platform.vmlinux, self.initrd, self.platform.tools, self.base, disk)
        machine = await start_machine(spec, files, b"answer=42\n", run_as=self.ids.run_as, ports=(8443,))
        guest = Guest(self, machine)
        loop = asyncio.get_running_loop()
        try:
            loop.add_reader(machine.console, lambda: guest.console.extend(machine.console.recv(65536)))
            with anyio.fail_after(60):
                await guest.until(b"SHELL\n")
            yield guest
        finally:
            loop.remove_reader(machine.console)
            await machine.close()
            for share in guest.shares:
                await share.close()


class Guest:
    """A running machine and its root shell."""

    def __init__(self, host: Host, machine: RunningMachine) -> None:
        self.machine = machine
        self.console = bytearray()
        self.shares: list[Share] = []
        self._host = host
        self._port: socket = machine.ports["sbx.0"]
        self._buffer = b""
        self._numbers = itertools.count(1)

    async def run(self, script: str, timeout: float = 60.0) -> str:
        """Run a script as root inside, and give what it printed on both streams."""
        mark = f"@{next(self._numbers)}@"
        with anyio.fail_after(timeout):
            self._port.sendall(f"{{ {script}\n}} 2>&1; printf '\\n%s%s\\n' {mark[:1]} {mark[1:]}\n".encode())
            return (await self.until(f"\n{mark}\n".encode())).decode(errors="replace").strip()

    async def until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            await anyio.wait_readable(self._port)
            chunk = self._port.recv(65536)
            assert chunk, f"the guest is gone: {bytes(self.console[-2000:])!r} {self.machine.output}"
            self._buffer += chunk
        before, _, self._buffer = self._buffer.partition(mark)
        return before

    async def share(self, workspace: Workspace) -> Share:
        """Serve, plug and mount a workspace at its target."""
        share = await serve_share(workspace, self._host.ids, self._host.layout.runtime)
        self.shares.append(share)
        tag = f"ws{len(self.shares)}"
        await self.machine.plug_share(tag, share)
        target = workspace.target
        tries = f"until mount -t virtiofs {tag} {target} 2>/dev/null; do sleep 0.05; done"
        assert await self.run(f"mkdir -p {target}; {tries}; echo mounted") == "mounted"
        return share


@pytest.fixture(scope="module")
async def host(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path, anyio_backend: str) -> Host:
    root = tmp_path_factory.mktemp("vm")
    layout = Layout(root / "state", shared_cache / "sandboxfile", root / "run")
    ensure_directories(layout)
    platform = await build_platform(layout, lambda _: None)
    initrd = root / "initrd.cpio"
    initrd.write_bytes(platform.initrd.read_bytes() + cpio.archive([cpio.file("init", SHELL_INIT, executable=True)]))
    base = root / "base.raw"
    with base.open("wb") as file:
        file.write(b"the image\n")
        file.truncate(64 * MEBIBYTE)
    return Host(layout, platform, initrd, base, id_map(layout, os.getuid(), os.getgid()))


@pytest.fixture(scope="module")
async def guest(host: Host) -> AsyncIterator[Guest]:
    """One machine for all tests of a module."""
    async with host.boot() as guest:
        yield guest


@pytest.fixture
def workspace_root(tmp_path: Path) -> Path:
    root = tmp_path.resolve() / "workspace"
    root.mkdir()
    return root
