"""The jail that QEMU runs in: `launcher.py` outside, bubblewrap inside it, QEMU as its process 1.

QEMU gets no path of the host that it could write, no socket path, no /proc, no capability, no network but a
namespace that leads nowhere (`network.py`); what it works with are descriptors. Where a namespace is forbidden nothing
is started: there is no unjailed way.
"""

import io
import json
import os
import platform
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import anyio
from anyio.abc import Process

from sandboxfile.errors import HostError, MachineError, SandboxfileError
from sandboxfile.vm.descriptors import DescriptorSet, OutputLog, receive_sockets
from sandboxfile.vm.filters import machine_filter, opener_filter
from sandboxfile.vm.ids import RunAs
from sandboxfile.vm.machine import CONFIG, FIRMWARE, INITRD, VMLINUX
from sandboxfile.vm.network import JailNetwork, Place, bindings

QEMU = "qemu-system-x86_64"
KVM = Path("/dev/kvm")

_LAUNCHER = Path(__file__).with_name("launcher.py")
_DATA = Path("/usr/share/qemu")  # option ROMs that QEMU wants for direct kernel boot
_FIRMWARE = (_DATA / "qboot.rom", Path("/usr/share/qboot/qboot.rom"), Path("/usr/share/qboot/bios.bin"))
_STAGE = "/run"  # launcher.STAGE
_START_TIMEOUT = 20.0  # seconds; 0.05 is usual
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class JailedProcess:
    """`process` is bubblewrap's monitor, whose exit code is QEMU's; `pidfd` is QEMU itself, seen from outside."""

    process: Process
    pid: int
    pidfd: int
    output: OutputLog
    network: JailNetwork

    async def close(self) -> None:
        """Close our descriptors of a process that has ended, and its network. Idempotent."""
        await self.network.close()
        if self.output.fileno() >= 0:
            os.close(self.pidfd)
        self.output.close()


async def start_jailed(
    arguments: Sequence[str],
    *,
    vmlinux: Path,
    initrd: Path,
    config: bytes,
    descriptors: DescriptorSet,
    memory: int,
    kvm: bool,
    run_as: RunAs | None,
    listen: Sequence[Place],
) -> JailedProcess:
    """Start QEMU with these arguments in its jail; `descriptors` are inherited by it, under the same numbers.

    `memory` is the guest's, in bytes; `listen` is what its network listens on, before QEMU runs. Raises HostError when
    this host lacks or forbids what the jail needs, MachineError when QEMU itself does not start.
    """
    if (os.geteuid() == 0) is not (run_as is not None):
        raise ValueError("root runs QEMU as somebody else, and nobody but root can")
    program = qemu_program()
    files = [(vmlinux, VMLINUX), (initrd, INITRD), (firmware(), FIRMWARE)]
    output = OutputLog()
    with _Lines() as lines:
        try:
            argv = bubblewrap_command(
                [program, *arguments],
                config=descriptors.data(config),
                program_filter=descriptors.data(machine_filter()),
                status=descriptors.own(os.dup(lines.status_writer)),
                kvm=kvm,
            )
            order = _order(argv, descriptors, files, memory, kvm, run_as)
            order |= {"listen": bindings(listen), "opener": lines.opener_order()}
            process = await _spawn_launcher(lines, descriptors, output)
        except BaseException:
            output.close()
            raise
        finally:
            lines.close_theirs()
            descriptors.close()
        return await _furnished(process, lines, order, listen, output)


def jail_failure(cause: SandboxfileError | OSError, output: str) -> SandboxfileError:
    """What to tell when a start went wrong and this was printed: bubblewrap's complaints are the host's fault."""
    if "bwrap:" in output:
        return HostError("cannot jail QEMU: bubblewrap failed", hint=_NAMESPACE_HINT, output=output)
    if isinstance(cause, SandboxfileError):
        return type(cause)(cause.message, hint=cause.hint, output=output)
    return MachineError(f"QEMU did not start: {cause or type(cause).__name__}", output=output)


def bubblewrap_command(
    command: Sequence[str], *, config: int, program_filter: int, status: int, kvm: bool
) -> list[str]:
    """The command that shuts `command` in. The numbers are descriptors: fw_cfg's text, BPF, and a pipe for the pid.

    No --unshare-net: the network namespace is the launcher's. No --proc: QEMU needs none.
    """
    words = [_program("bwrap", "bubblewrap")]
    words += ["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup"]
    words += ["--disable-userns", "--die-with-parent", "--new-session", "--as-pid-1", "--hostname", "jail"]
    words += ["--cap-drop", "ALL", "--clearenv", "--json-status-fd", str(status)]
    words += _libraries()
    for path in (command[0], str(_DATA)):
        words += ["--ro-bind", path, path]
    for name in (VMLINUX, INITRD, FIRMWARE):
        words += ["--ro-bind", f"{_STAGE}{name}", name]
    words += ["--ro-bind-data", str(config), CONFIG, "--dir", "/dev"]
    for device in ("/dev/null", "/dev/zero", "/dev/urandom", *([str(KVM)] if kvm else [])):
        words += ["--dev-bind", device, device]
    return [*words, "--seccomp", str(program_filter), "--remount-ro", "/", "--chdir", "/", "--", *command]


def qemu_program() -> str:
    """The absolute path of QEMU. Raises HostError."""
    return _program(QEMU, "qemu-system-x86")


def firmware() -> Path:
    """The firmware of microvm, as a real path. Raises HostError."""
    for path in _FIRMWARE:
        if path.exists():
            return path.resolve()
    raise HostError("qboot, the firmware of QEMU's microvm, is not installed", hint="apt install qemu-system-data")


def limits(memory: int) -> dict[str, int]:
    """Resource limits of QEMU, by RLIMIT name. Bounds what a QEMU that was taken over can take from the host."""
    return {
        "CORE": 0,  # a core file would hold the guest's memory
        "NOFILE": 4096,
        "NPROC": 4096,  # threads of all our QEMUs together, where they share a user
        "MSGQUEUE": 0,
        "AS": memory + 8 * _GIB,  # guest memory, translated code, thread stacks and their arenas
    }


def _order(
    argv: list[str],
    descriptors: DescriptorSet,
    files: Sequence[tuple[Path, str]],
    memory: int,
    kvm: bool,
    run_as: RunAs | None,
) -> dict[str, object]:
    groups = [KVM.stat().st_gid] if kvm else []
    return {
        "parent": os.getpid(),
        "files": [[str(path), name.lstrip("/")] for path, name in files],
        "limits": limits(memory),
        "run_as": None if run_as is None else {"uid": run_as.uid, "gid": run_as.gid, "groups": groups},
        "keep": descriptors.numbers,
        "argv": argv,
    }


class _Lines:
    """What connects us with a launch, our end first: packet sockets to the launcher and to the opener of ports that it
    leaves behind, and a pipe from bubblewrap. All closed at the end.
    """

    def __init__(self) -> None:
        self.launcher = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.opener = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reader, self.status_writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.status = os.fdopen(reader, "rb", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close_theirs()
        for ours in (self.launcher[0], self.opener[0], self.status):
            ours.close()

    def close_theirs(self) -> None:
        """Idempotent."""
        for pair in (self.launcher, self.opener):
            pair[1].close()
        if self.status_writer >= 0:
            os.close(self.status_writer)
            self.status_writer = -1

    def opener_order(self) -> dict[str, object]:
        return {"control": self.opener[1].fileno(), "filter": opener_filter().hex()}


async def _furnished(
    process: Process, lines: _Lines, order: dict[str, object], listen: Sequence[Place], output: OutputLog
) -> JailedProcess:
    """Have the launcher do what it is for; whatever fails ends it."""
    network = None
    try:
        with anyio.fail_after(_START_TIMEOUT):
            lines.launcher[0].send(json.dumps(order).encode())
            network = await _launched(lines, listen)
            pid = await _jailed_pid(lines.status)
        return JailedProcess(process, pid, os.pidfd_open(pid), output, network)
    except BaseException as exc:
        text = await _reap(process, output, network)
        if isinstance(exc, SandboxfileError | OSError):
            raise jail_failure(exc, text) from exc
        raise


async def _spawn_launcher(lines: _Lines, descriptors: DescriptorSet, output: OutputLog) -> Process:
    control, opener = (pair[1].fileno() for pair in (lines.launcher, lines.opener))
    # The kernel's parent-death signal follows the thread that forks: this must be the main thread, and is with asyncio.
    return await anyio.open_process(
        [sys.executable, "-I", "-S", str(_LAUNCHER), str(control)],
        stdin=subprocess.DEVNULL,
        stdout=output.fileno(),
        stderr=output.fileno(),
        pass_fds=[control, opener, *descriptors.numbers],
        env={},
        cwd="/",
        start_new_session=True,
    )


async def _launched(lines: _Lines, listen: Sequence[Place]) -> JailNetwork:
    """The network that the launcher has made. Raises HostError when it failed, and OSError."""
    text, sockets = await receive_sockets(lines.launcher[0])
    reply = json.loads(text or b"{}")
    if reply.get("ok") and len(sockets) == len(listen):
        return JailNetwork(dict(zip(listen, sockets, strict=True)), lines.opener[0].dup(), reply["opener"])
    for each in sockets:
        each.close()
    raise HostError(f"cannot jail QEMU: {reply.get('error', 'its launcher died')}", hint=_NAMESPACE_HINT)


async def _jailed_pid(status: io.FileIO) -> int:
    """QEMU's pid, which bubblewrap tells once the jail stands."""
    text = b""
    while b"\n" not in text:
        await anyio.wait_readable(status)
        chunk = status.read(4096)
        if not chunk:
            raise MachineError("QEMU's jail was not built")
        text += chunk
    return int(json.loads(text.split(b"\n")[0])["child-pid"])


async def _reap(process: Process, output: OutputLog, network: JailNetwork | None) -> str:
    """End what was started, and give what it printed."""
    with anyio.CancelScope(shield=True):
        if process.returncode is None:
            process.kill()
        await process.wait()
        if network is not None:
            await network.close()
    output.close()
    return output.text()


_NAMESPACE_HINT = (
    "user namespaces must be allowed: sysctl kernel.unprivileged_userns_clone=1 (Debian), "
    "kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu); a container needs CAP_SYS_ADMIN or its own user namespace"
)


def _program(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise HostError(f"{name} is not installed", hint=f"install it: apt install {package}")
    return str(Path(found).resolve())


def _libraries() -> list[str]:
    """Mounts for the dynamic linker's directories; they hold no secrets. Links stay links."""
    multiarch = f"/usr/lib/{platform.machine()}-linux-gnu"
    words: list[str] = []
    for path in (multiarch if Path(multiarch).is_dir() else "/usr/lib", "/usr/lib64", "/lib", "/lib64"):
        try:
            mode = Path(path).lstat().st_mode
        except FileNotFoundError:
            continue
        if stat.S_ISLNK(mode):
            words += ["--symlink", str(Path(path).readlink()), path]
        elif stat.S_ISDIR(mode):
            words += ["--ro-bind", path, path]
    return words
