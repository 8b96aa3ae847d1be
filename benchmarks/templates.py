"""What building templates costs beside the tools beneath it and beside a peer: wall time, ratios. Never asserts.

    python benchmarks/templates.py [--base] [RUNS]

The floor of a Debian image is mmdebstrap alone, making a tar of the same packages. The peer of a change is `buildah
bud` (what `docker build` does): the same steps in a Dockerfile upon the same root, everything cached, then the last
step changed. From such a builder people expect: nothing changed, under a second; the last step changed, that step and a
moment. Ours boots a machine for steps (2 to 3 s under emulation) and makes a disk of all layers. `--base` also builds
the built-in `base`, some minutes. Needs a host that can run sandboxes, and buildah for the peer; builds kernel and
tools first if the cache lacks them, which is not counted.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from sandboxfile.agents.builtin import BUILTIN_TEMPLATES
from sandboxfile.host.layout import Layout

FILE = """\
name: bench
templates:
  dev:
    packages: {{apt: [{packages}]}}
    run: ["echo one >/one", "echo two >/two", "echo {word} >/three"]
  more: {{packages: {{apt: [jq{more}]}}}}
sandboxes: {{box: {{template: dev}}}}
"""
DOCKERFILE = "FROM localhost/bench/root\nRUN echo one >/one\nRUN echo two >/two\nRUN echo {word} >/three\n"
PACKAGES = "ripgrep"


def main() -> None:
    words = [word for word in sys.argv[1:] if word != "--base"]
    runs = int(words[0]) if words else 3
    with tempfile.TemporaryDirectory(prefix="sbx-bench-", dir="/var/tmp") as name:
        Bench(Path(name).resolve()).measure(runs, base="--base" in sys.argv)


class Bench:
    """One project with a cache of its own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.project = place / "project"
        self.project.mkdir()
        self.cache = place / "cache/sandboxfile"
        names = {"XDG_CACHE_HOME": "cache", "XDG_STATE_HOME": "state", "XDG_RUNTIME_DIR": "run"}
        self.environment = {**os.environ, **{name: str(place / path) for name, path in names.items()}}
        self.environment.pop("SBX_HOME", None)
        store = place / "storage.conf"
        store.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{place}/storage"\nrunroot = "{place}/storage-run"\n')
        self.environment["CONTAINERS_STORAGE_CONF"] = str(store)
        (place / "run").mkdir(mode=0o700)
        self.cache.mkdir(parents=True, mode=0o700)
        ours = Layout.from_environment(os.environ, Path.home(), os.getuid()).platforms
        if ours.exists():
            shutil.copytree(ours, self.cache / "platforms", copy_function=os.link)

    def measure(self, runs: int, *, base: bool) -> None:
        self.write("last")
        self.sbx("template", "build", "dev")  # kernel and tools, if need be; and packages in the host's own caches
        for name in ("shell", "base") if base else ("shell",):
            floor = self.timed(1 if name == "base" else runs, lambda name=name: self.mmdebstrap(name))  # type: ignore[misc]
            built = self.timed(1 if name == "base" else runs, lambda name=name: self.build(name), before=self.forget)  # type: ignore[misc]
            show(f"{name}, empty cache", built, floor, "mmdebstrap alone")
        whole = self.timed(1, lambda: self.build("more"), before=self.forget)
        changed = []
        for number in range(runs):
            self.write("last", f", {('tree', 'bc', 'file', 'dc', 'patch')[number % 5]}")
            changed += self.timed(1, lambda: self.build("more"))
        show("one more Debian package", changed, whole, "the whole, from nothing")
        self.peer(runs)

    def peer(self, runs: int) -> None:
        self.write("0")
        self.build("dev")
        self.sbx("template", "export", "shell", "--to", "containers-storage:localhost/bench/root:latest")
        self.bud("0")
        show(
            "nothing changed",
            self.timed(runs, lambda: self.build("dev")),
            self.timed(runs, lambda: self.bud("0")),
            "buildah",
        )
        ours, theirs = [], []
        for number in range(1, runs + 1):
            self.write(str(number))
            ours += self.timed(1, lambda: self.build("dev"))
            theirs += self.timed(1, lambda number=number: self.bud(str(number)))  # type: ignore[misc]
        show("last step changed", ours, theirs, "buildah")

    def write(self, word: str, more: str = "") -> None:
        (self.project / "sandbox.yaml").write_text(FILE.format(packages=PACKAGES, word=word, more=more))

    def build(self, name: str) -> None:
        self.sbx("template", "build", name)

    def bud(self, word: str) -> None:
        context = self.place / "context"
        context.mkdir(exist_ok=True)
        (context / "Dockerfile").write_text(DOCKERFILE.format(word=word))
        self.run(["buildah", "bud", "--quiet", "--layers", "--isolation", "chroot", "--tag", "bench", str(context)])

    def mmdebstrap(self, name: str) -> None:
        packages = ",".join(BUILTIN_TEMPLATES[name].packages.apt)
        self.run(
            ["mmdebstrap", "--variant=essential", f"--include={packages}", "trixie", str(self.place / "floor.tar")]
        )

    def forget(self) -> None:
        for name in ("images", "layers"):
            shutil.rmtree(self.cache / name, ignore_errors=True)

    def sbx(self, *arguments: str) -> None:
        self.run([sys.executable, "-m", "sandboxfile", *arguments])

    def run(self, command: list[str]) -> None:
        subprocess.run(command, cwd=self.project, env=self.environment, check=True, capture_output=True)

    def timed(self, runs: int, action: Callable[[], object], before: Callable[[], object] | None = None) -> list[float]:
        seconds = []
        for _ in range(runs):
            if before is not None:
                before()
            started = time.perf_counter()
            action()
            seconds.append(time.perf_counter() - started)
        return seconds


def show(what: str, seconds: list[float], other: list[float], name: str) -> None:
    ratio = median(seconds) / median(other)
    print(f"{what:26} {median(seconds):8.2f}s {median(other):8.2f}s {ratio:7.2f}x   beside {name}", flush=True)


if __name__ == "__main__":
    main()
