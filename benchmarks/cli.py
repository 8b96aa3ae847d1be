"""Processor time of the command line, beside that of the interpreter alone. Prints a table; asserts nothing.

    python benchmarks/cli.py [RUNS]

Medians of user and system time of the child processes, after one run that fills the caches.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
RUNS = 15
SANDBOXES = 10


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    with tempfile.TemporaryDirectory(prefix="sbx-bench-") as directory:
        place = Path(directory) / "project"
        place.mkdir()
        (place / "sandbox.yaml").write_text(sandbox_file(SANDBOXES))
        commands = {
            "python -c pass": ["-c", "pass"],
            "sbx --help": ["-m", "sandboxfile", "--help"],
            "sbx validate": ["-m", "sandboxfile", "validate"],
            f"sbx plan ({SANDBOXES} sandboxes)": ["-m", "sandboxfile", "plan"],
            "sbx ls -a": ["-m", "sandboxfile", "ls", "-a"],
        }
        medians = {name: measure(arguments, place, runs) for name, arguments in commands.items()}
    bare = medians["python -c pass"]
    print(f"{'command':<28} {'processor time':>15} {'to bare python':>15}   (median of {runs})")
    for name, seconds in medians.items():
        print(f"{name:<28} {seconds * 1000:>12.0f} ms {seconds / bare:>14.1f}x")


def measure(arguments: list[str], place: Path, runs: int) -> float:
    """Median processor time in seconds of a child of this interpreter."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "SBX_HOME": str(place.parent / "state")}
    environment["HOME"] = str(place.parent / "home")
    return statistics.median([child_time(arguments, place, environment) for _ in range(runs + 1)][1:])


def child_time(arguments: list[str], place: Path, environment: dict[str, str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], cwd=place, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def sandbox_file(count: int) -> str:
    """A file of `count` sandboxes with a bit of everything."""
    sandboxes = "".join(
        f"  box-{number}:\n"
        f"    template: dev\n"
        f"    workspaces: [.]\n"
        f"    env: {{NUMBER: '{number}', MODE: development}}\n"
        f"    resources: {{cpus: 2, memory: {512 + number}MiB}}\n"
        f"    setup: ['make deps']\n"
        f"    command: [make, serve]\n"
        for number in range(count)
    )
    return f"name: bench\ntemplates:\n  dev: {{base: shell, packages: {{apt: [make]}}}}\nsandboxes:\n{sandboxes}"


if __name__ == "__main__":
    main()
