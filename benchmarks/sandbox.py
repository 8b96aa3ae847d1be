"""What a sandbox costs beside the floor beneath it, in one run: wall time, medians, ratios. Never asserts.

    python benchmarks/sandbox.py [RUNS]

The floor of `sbx up` is QEMU alone, unjailed, booting the same kernel, tools and image to its first line of "ready".
The floor of `sbx exec box true` is `true` on the host; that of a stream is `cat` between two pipes. Needs a host that
can run sandboxes; builds kernel and image first if the cache lacks them, which is not counted.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import anyio

from sandboxfile.guest.config import PORTS, GuestConfig, encode
from sandboxfile.guest.keys import make_keys
from sandboxfile.host.layout import Layout
from sandboxfile.images.boot.platform import find_platform
from sandboxfile.images.store import find_image
from sandboxfile.pipeline import load
from sandboxfile.supervisor.authority import authority
from sandboxfile.vm import jail
from sandboxfile.vm.accel import choose_accelerator, tsc_khz
from sandboxfile.vm.machine import CONFIG, FIRMWARE, INITRD, VMLINUX, Descriptors, MachineSpec, qemu_arguments

FILE = "name: bench\nsandboxes:\n  box: {workspaces: [.], resources: {cpus: 1, memory: 512MiB, disk: 4GiB}}\n"
STREAM = 50 << 20  # bytes


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory(prefix="sbx-bench-") as name:
        place = Path(name).resolve()
        environment = {**os.environ, "XDG_STATE_HOME": str(place / "state"), "XDG_RUNTIME_DIR": str(place / "run")}
        environment.pop("SBX_HOME", None)
        (place / "project").mkdir()
        (place / "project/sandbox.yaml").write_text(FILE)
        measure(runs, place, environment)


def measure(runs: int, place: Path, environment: dict[str, str]) -> None:
    project = place / "project"

    def sbx(*arguments: str, **streams: object) -> None:
        subprocess.run(
            [sys.executable, "-m", "sandboxfile", *arguments],
            cwd=project,
            env=environment,
            check=True,
            **{"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL, **streams},  # type: ignore[call-overload]
        )

    sbx("up", "-y")
    layout = Layout.from_environment(environment, Path.home(), os.getuid())
    data = place / "data"
    data.write_bytes(os.urandom(1 << 20) * (STREAM >> 20))

    def stream(command: Callable[..., None]) -> None:
        with data.open("rb") as source:
            command(source)

    rows = [
        (
            "exec true",
            timed(runs, lambda: sbx("exec", "box", "true")),
            timed(runs, lambda: subprocess.run(["true"], check=True)),
            "true on the host",
        ),
        (
            "50 MB through exec -i cat",
            timed(runs, lambda: stream(lambda source: sbx("exec", "-i", "box", "cat", stdin=source))),
            timed(
                runs, lambda: stream(lambda s: subprocess.run(["cat"], stdin=s, stdout=subprocess.DEVNULL, check=True))
            ),
            "cat on the host",
        ),
    ]
    sbx("down", "-y")
    ups = []
    for _ in range(runs):
        ups += timed(1, lambda: sbx("up", "-y"))
        sbx("down", "-y")
    floor = [boot_bare(layout, project / "sandbox.yaml", place) for _ in range(runs)]
    rows.insert(0, ("up, cache warm", ups, floor, "QEMU alone, to the guest's `ready`"))
    show(rows)


def timed(runs: int, action: Callable[[], object]) -> list[float]:
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return seconds


def boot_bare(layout: Layout, file: Path, place: Path) -> float:
    """Seconds from the start of an unjailed QEMU to the line with which our init says that it is done."""
    platform, desired = find_platform(layout), load(file, layout).desired
    assert platform is not None
    assert desired is not None
    image = find_image(layout, desired.sandboxes[0].image.digest)
    assert image is not None
    disk = place / "bare.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), "4G"], check=True)
    keys = make_keys()
    config = place / "config"
    own = authority(place / "authority.pem", "bare")
    trust = (own.certificate, own.subject_hash)
    config.write_bytes(encode(GuestConfig("bare", keys.host_private, keys.client_public, *trust)))
    chosen = anyio.run(choose_accelerator, layout, platform.vmlinux, platform.digest, os.environ)
    spec = MachineSpec(1, 512 << 20, chosen.accelerator, anyio.run(tsc_khz), PORTS)
    pairs = [socket.socketpair() for _ in range(2 + len(PORTS))]
    files = [os.open(image.disk, os.O_RDONLY), os.open(disk, os.O_RDWR), os.open(platform.tools, os.O_RDONLY)]
    theirs = [end.fileno() for _, end in pairs]
    numbers = Descriptors(theirs[0], theirs[1], tuple(theirs[2:]), *files)
    names = {VMLINUX: platform.vmlinux, INITRD: platform.initrd, FIRMWARE: jail.firmware()}
    arguments = [
        str(names.get(word, word)).replace(f"file={CONFIG}", f"file={config}") for word in qemu_arguments(spec, numbers)
    ]
    started = time.perf_counter()
    with subprocess.Popen([jail.qemu_program(), *arguments], pass_fds=[*theirs, *files]) as machine:
        console, text = pairs[1][0], b""
        console.settimeout(120)
        while b"sbx: ready" not in text:
            text += console.recv(65536)
        seconds = time.perf_counter() - started
        machine.kill()
    for ends in pairs:
        for end in ends:
            end.close()
    for descriptor in files:
        os.close(descriptor)
    disk.unlink()
    return seconds


def show(rows: list[tuple[str, list[float], list[float], str]]) -> None:
    print(f"{'what':28} {'median':>9} {'floor':>9} {'ratio':>8}   floor is")
    for what, seconds, floor, name in rows:
        ratio = median(seconds) / median(floor)
        print(f"{what:28} {median(seconds):8.3f}s {median(floor):8.3f}s {ratio:7.2f}x   {name}")


if __name__ == "__main__":
    main()
