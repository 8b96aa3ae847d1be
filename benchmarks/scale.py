"""`sbx plan` of 10, 100 and 1 000 sandboxes beside `terraform plan` of as many resources. Prints; asserts nothing.

    python benchmarks/scale.py [ROUNDS]

Both plan against recorded state, in one process, with nothing that runs: ours are sandboxes that fell asleep, written
as `sbx up` writes them; theirs are `terraform_data` resources (built into terraform: no provider, no network), applied
once. Three files of each size: as it was applied, with one of them changed, with half of them changed. The two take
turns; wall time is the median, memory the largest of what the kernel says of the whole process.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import anyio

from sandboxfile import pipeline
from sandboxfile.host.durable import write_atomic
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import ensure_directories, write_record
from sandboxfile.images import cache
from sandboxfile.images.boot.platform import platform_digest
from sandboxfile.images.config import ImageConfig
from sandboxfile.model.desired import DesiredState
from sandboxfile.model.observed import Applied

REPOSITORY = Path(__file__).resolve().parent.parent
COUNTS = (10, 100, 1000)
TEMPLATES = {"web": "nodejs", "api": "python3", "jobs": "redis-tools", "data": "postgresql-client", "docs": "pandoc"}
HEAD = """\
name: fleet
defaults:
  resources: {cpus: 2, memory: 1GiB, disk: 8GiB}
  idle_stop: 30m
  env: {REGION: "${REGION:-north}"}
"""
POLICY = """\
  team-{number}:
    allow:
      - preset: npm
      - api-{number}.example.com:443
      - "*.team-{number}.example.com"
      - {{host: git.example.com, methods: [GET, POST], paths: ["/team-{number}/**"]}}
    block: [ads.example.com, 198.51.100.0/24]
"""
SANDBOX = """\
  box-{number}:
    template: {template}
    workspaces: [./service-{service}, "./shared:/shared:ro"]
    policy: team-{team}
    env: {{NUMBER: "{number}", MODE: {mode}}}
    ports: ["{port}:80"]
    setup: [make deps]
    command: [make, serve]
"""
RESOURCE = """\
resource "terraform_data" "box-{number}" {{
  input = {{
    template   = "{template}"
    workspaces = ["./service-{service}", "./shared:/shared:ro"]
    policy     = "team-{team}"
    env        = {{ NUMBER = "{number}", MODE = "{mode}" }}
    ports      = ["{port}:80"]
    setup      = ["make deps"]
    command    = ["make", "serve"]
    region     = var.region
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Run:
    """One process: wall time in seconds, peak memory in bytes, and how many things it wants to change."""

    seconds: float
    memory: int
    changes: int


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    if shutil.which("terraform") is None:
        sys.exit("terraform is not on the PATH")
    print(f"{'':<24} {'sbx plan':>18} {'terraform plan':>18} {'time':>7} {'memory':>7}   (median of {rounds})")
    for count in COUNTS:
        with tempfile.TemporaryDirectory(prefix="sbx-bench-", dir="/var/tmp") as name:
            measure(Path(name).resolve(), count, rounds)


def measure(place: Path, count: int, rounds: int) -> None:
    """All files of one size."""
    ours, theirs = Ours(place / "ours", count), Theirs(place / "theirs", count)
    for words, changed in (("as applied", 0), ("one changed", 1), ("half changed", count // 2)):
        ours.write(changed)
        theirs.write(changed)
        runs = [(ours.plan(), theirs.plan()) for _ in range(rounds + 1)][1:]
        show(f"{count:>5} {words}", [run for run, _ in runs], [run for _, run in runs], changed)


def show(words: str, ours: Sequence[Run], theirs: Sequence[Run], changed: int) -> None:
    seconds = [median(run.seconds for run in runs) for runs in (ours, theirs)]
    memory = [max(run.memory for run in runs) for runs in (ours, theirs)]
    texts = [f"{seconds[i] * 1000:>8.0f} ms {memory[i] >> 20:>3} MiB" for i in (0, 1)]
    ratios = f"{seconds[0] / seconds[1]:>6.2f}x {memory[0] / memory[1]:>6.2f}x"
    print(f"{words:<24} {texts[0]:>18} {texts[1]:>18} {ratios}")
    told = {run.changes for run in (*ours, *theirs)}
    if told != {changed}:
        print(f"    they plan {sorted(told)} changes, not {changed}")


def timed(argv: Sequence[str], place: Path, environment: dict[str, str], changes: str) -> Run:
    """Run a command; `changes` finds what it wants to change in what it prints."""
    begun = time.perf_counter()
    with subprocess.Popen(
        argv, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        printed = process.stdout.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(argv)} failed\n{printed}")
    return Run(seconds, usage.ru_maxrss << 10, len(re.findall(changes, printed, re.MULTILINE)))


def numbers(number: int, changed: int) -> dict[str, object]:
    """What the two files say of the sandbox or resource of this number."""
    return {
        "number": number,
        "template": list(TEMPLATES)[number % len(TEMPLATES)],
        "service": number % 50,
        "team": number % 20,
        "mode": "changed" if number < changed else "as-it-was",
        "port": 20000 + number,
    }


class Theirs:
    """A terraform project, applied."""

    def __init__(self, place: Path, count: int) -> None:
        self.place, self.count = place, count
        place.mkdir()
        settings = place / "terraform.rc"
        settings.touch()
        self.environment = {**os.environ, "TF_CLI_CONFIG_FILE": str(settings), "CHECKPOINT_DISABLE": "1"}
        self.write(0)
        for words in (["init"], ["apply", "-auto-approve"]):
            argv = ["terraform", *words, "-no-color"]
            subprocess.run(argv, cwd=place, env=self.environment, check=True, capture_output=True)

    def write(self, changed: int) -> None:
        """The file, with that many of its resources changed."""
        resources = "".join(RESOURCE.format(**numbers(number, changed)) for number in range(self.count))
        (self.place / "main.tf").write_text('variable "region" {\n  default = "north"\n}\n' + resources)

    def plan(self) -> Run:
        return timed(["terraform", "plan", "-no-color"], self.place, self.environment, r"^  # .* will be")


class Ours:
    """A project of sandboxes that are asleep."""

    def __init__(self, place: Path, count: int) -> None:
        self.place, self.count = place, count
        for directory in (*(place / f"service-{number}" for number in range(50)), place / "shared"):
            directory.mkdir(parents=True)
        home = place.parent / "home"
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "SBX_HOME": str(home / "sbx"),
            "HOME": str(home),
        }
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed is compiled, as terraform is
        self.layout = Layout.from_environment(self.environment, home, os.getuid())
        self.write(0)
        os.environ.update(self.environment)
        os.chdir(place)
        loaded = pipeline.load(place / "sandbox.yaml", self.layout)
        if loaded.desired is None:
            sys.exit("\n".join(map(str, loaded.diagnostics)))
        ensure_directories(self.layout)
        anyio.run(self.fill_cache, loaded.desired)
        self.record(loaded.desired)

    def write(self, changed: int) -> None:
        """The file, with that many of its sandboxes changed."""
        templates = "".join(f"  {name}: {{packages: {{apt: [{tool}]}}}}\n" for name, tool in TEMPLATES.items())
        policies = "".join(POLICY.format(number=number) for number in range(20))
        sandboxes = "".join(SANDBOX.format(**numbers(number, changed)) for number in range(self.count))
        text = f"{HEAD}templates:\n{templates}policies:\n{policies}sandboxes:\n{sandboxes}"
        (self.place / "sandbox.yaml").write_text(text)

    async def fill_cache(self, desired: DesiredState) -> None:
        """Images and a platform with nothing in them."""

        async def make(work: Path) -> dict[str, object]:
            (work / "rootfs.ext4").write_bytes(b"a disk")
            return {
                "content": "c" * 64, "title": "bench", "config": ImageConfig().to_json(), "layers": [], "builds": [],
                "sealed": 0.0, "epoch": 0, "origin_digest": "", "versions": {}, "template": "bench", "kernel": "6.1",
            }  # fmt: skip

        for digest in {sandbox.image.digest for sandbox in desired.sandboxes}:
            await cache.build(self.layout.images, digest, make, report=lambda _: None)
        await cache.build(self.layout.platforms, platform_digest(), make, report=lambda _: None)

    def record(self, desired: DesiredState) -> None:
        """Every sandbox as one that was made from this file, and fell asleep."""
        for sandbox in desired.sandboxes:
            paths = self.layout.sandbox(sandbox.id)
            paths.root.mkdir(parents=True)
            for file in (paths.base, paths.disk, paths.lock):
                file.write_bytes(b"")
            created = "2026-01-01T00:00:00+00:00"
            write_record(paths, Applied(sandbox, desired.source, created, len(sandbox.setup), "c" * 64))
            write_atomic(paths.asleep, b"")

    def plan(self) -> Run:
        argv = [sys.executable, "-m", "sandboxfile", "plan"]
        return timed(argv, self.place, self.environment, r"^[ \t]*[~+-] sandbox ")


if __name__ == "__main__":
    main()
