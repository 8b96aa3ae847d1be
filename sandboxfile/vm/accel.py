"""Hardware or software: KVM when a timed boot says that it works, never because /dev/kvm opens.

There are hosts on which /dev/kvm opens and then fails at the first instruction, or interprets each of them. So the
platform's own kernel is booted under KVM, up to the moment at which it misses its root disk, against a deadline.
The answer is remembered for this boot of the host, this QEMU and this kernel. `SBX_ACCEL=kvm|tcg` overrides it.
"""

import ctypes
import json
import mmap
import os
import platform
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

import anyio

from sandboxfile.errors import HostError
from sandboxfile.host.durable import write_atomic
from sandboxfile.host.layout import Layout
from sandboxfile.model.fingerprint import fingerprint
from sandboxfile.vm.jail import KVM, firmware, qemu_program
from sandboxfile.vm.machine import Accelerator

RECORD_VERSION = 1
PROBE_DEADLINE = 3.0  # seconds; software emulation takes 1.4 on two slow cores
_BOOTED = b"Kernel panic - not syncing: VFS"
_COMMAND_LINE = "console=ttyS0 reboot=t panic=-1 quiet loglevel=4 cryptomgr.notests no_timer_check"


@dataclass(frozen=True, slots=True)
class Acceleration:
    """`reason` says to people why it is this one."""

    accelerator: Accelerator
    reason: str


async def choose_accelerator(layout: Layout, vmlinux: Path, kernel: str, environ: Mapping[str, str]) -> Acceleration:
    """Which accelerator to use; the first call on a host with /dev/kvm takes up to PROBE_DEADLINE.

    `kernel` names the content of `vmlinux`. Raises HostError when SBX_ACCEL is neither kvm nor tcg.
    """
    wanted = environ.get("SBX_ACCEL", "")
    if wanted:
        if wanted not in get_args(Accelerator):
            raise HostError(f"SBX_ACCEL={wanted} is not an accelerator", hint="set it to kvm or tcg, or unset it")
        return Acceleration(cast(Accelerator, wanted), f"SBX_ACCEL={wanted}")
    if problem := kvm_problem():
        return Acceleration("tcg", problem)
    key = _key(kernel)
    if (known := _recall(layout.accelerator_record, key)) is not None:
        return known
    found = await probe(kvm_command(vmlinux), PROBE_DEADLINE)
    _remember(layout.accelerator_record, key, found)
    return found


def kvm_problem() -> str | None:
    """Why /dev/kvm cannot be used by us at all, or None."""
    try:
        os.close(os.open(KVM, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return f"this host has no {KVM}"
    except PermissionError:
        return f"you may not open {KVM} (sudo usermod -aG kvm $USER, and log in again)"
    except OSError as exc:
        return f"{KVM} cannot be opened: {exc.strerror}"
    return None


def kvm_command(vmlinux: Path) -> list[str]:
    """The probe: our machine and our kernel, with nothing to boot into. Unjailed: no guest's code runs."""
    return [
        *(qemu_program(), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-nic", "none"),
        *("-machine", "microvm,acpi=on,rtc=on,pcie=on", "-accel", "kvm", "-cpu", "host", "-m", "256M"),
        *("-bios", str(firmware()), "-kernel", str(vmlinux), "-append", _COMMAND_LINE, "-serial", "stdio"),
    ]


async def probe(command: list[str], deadline: float) -> Acceleration:
    """Run a probe; KVM works when the kernel gets to its root disk before the deadline (seconds)."""
    started = time.monotonic()
    console = bytearray()
    # Under `timeout`, so that a probe which hangs does not outlive us for long.
    limited = ["timeout", "--signal=KILL", str(round(deadline * 3) + 1), *command]
    process = await anyio.open_process(
        limited, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, start_new_session=True
    )
    assert process.stdout is not None
    try:
        with anyio.move_on_after(deadline), suppress(anyio.EndOfStream):
            while _BOOTED not in console and len(console) < 1 << 20:
                console += await process.stdout.receive()
        seconds = time.monotonic() - started
    finally:
        with anyio.CancelScope(shield=True):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.aclose()
    if _BOOTED in console:
        return Acceleration("kvm", f"a probe boot took {seconds:.1f} s")
    if seconds >= deadline:
        return Acceleration("tcg", f"KVM is there and too slow: a probe boot took more than {deadline:g} s")
    lines = console.decode(errors="replace").strip().splitlines() or ["it said nothing"]
    return Acceleration("tcg", f"KVM is there and does not work: {lines[0][:200]}")


async def tsc_khz(seconds: float = 0.05) -> int | None:
    """The rate of this processor's time stamp counter, in kHz, exact to about 10 parts in a million.

    None where there is none, or where memory may not be made executable.
    """
    if platform.machine() != "x86_64":
        return None
    try:
        read = _rdtsc()
    except OSError:
        return None
    first, begin = _sample(read)
    await anyio.sleep(seconds)
    second, end = _sample(read)
    return round((second - first) * 1_000_000 / (end - begin))


def _sample(read: Callable[[], int]) -> tuple[int, int]:
    """The counter, and the time (ns) at which it was read: the tightest of several tries, nobody having interrupted."""
    tries = []
    for _ in range(20):
        before = time.perf_counter_ns()
        counter = read()
        after = time.perf_counter_ns()
        tries.append((after - before, counter, (before + after) // 2))
    _, counter, moment = min(tries)
    return counter, moment


def _rdtsc() -> Callable[[], int]:
    memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(bytes.fromhex("0f31 48c1e220 4809d0 c3"))  # rdtsc; shl rdx,32; or rax,rdx; ret
    buffer = ctypes.c_char.from_buffer(memory)  # the function below keeps it, and it keeps the memory
    function = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(buffer))

    def read() -> int:
        assert buffer is not None
        return int(function())

    return read


def _key(kernel: str) -> str:
    program = Path(qemu_program()).stat()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return fingerprint({"boot": boot, "kernel": kernel, "qemu": [program.st_ino, program.st_size, program.st_mtime_ns]})


def _recall(path: Path, key: str) -> Acceleration | None:
    """What an earlier probe found. A record that cannot be used is as good as none: it is only a cache."""
    try:
        record = json.loads(path.read_bytes())
        if record["version"] == RECORD_VERSION and record["key"] == key and record["accelerator"] in ("kvm", "tcg"):
            return Acceleration(record["accelerator"], str(record["reason"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _remember(path: Path, key: str, found: Acceleration) -> None:
    record = {"version": RECORD_VERSION, "key": key, "accelerator": found.accelerator, "reason": found.reason}
    write_atomic(path, json.dumps(record, indent=1).encode())
