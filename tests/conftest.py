"""Fixtures for all tests: a clean home, and for scenarios `sbx`, a runner with a cache shared by the whole run.

Kernel and images are built once and kept in `.cache/` of the repository (content-addressed, so old ones do no harm);
SBX_TEST_CACHE names another place. Everything else of a test is in a short temporary directory of its own.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from . import forking

REPOSITORY = Path(__file__).resolve().parent.parent
ARTIFACTS = REPOSITORY / "build" / "artifacts"
COMMAND_TIMEOUT = 1200.0  # seconds for one command: the first one of a fresh machine builds kernel and image
WAIT_TIMEOUT = 90.0
# Files that take minutes, the longest first: one of them begun last would be waited for alone. The first of those with
# machines make the images that the others need.
LONGEST = (
    *("test_lives_first", "test_lives_second", "test_mistakes", "test_convergence", "test_reconcile", "test_secret"),
    *("test_docker", "test_egress_clients", "test_crashes", "test_template_failures", "test_ordinary_user"),
    *("test_egress_attacks", "test_agents", "test_builds", "test_main_road", "test_templates", "test_credentials"),
    *("test_egress_crashes", "test_base", "test_trust", "test_checkpoints", "test_volumes", "test_drift"),
    *("test_life", "test_egress_presets", "test_workspaces", "test_sessions", "test_ports", "test_python_api"),
)


@dataclass
class Result:
    """What a command left: exit code and both streams (bytes when asked for binary)."""

    code: int
    stdout: Any
    stderr: Any


@dataclass
class Sbx:
    """Runs `sbx` in a project directory of its own, with its own state and the shared cache."""

    root: Path
    cache: Path
    wrapper: list[str] = field(default_factory=list)  # a command that runs sbx, with its arguments
    variables: dict[str, str] = field(default_factory=dict)  # of the caller's environment, besides the usual ones
    log: list[str] = field(default_factory=list)
    _clients: "list[subprocess.Popen[str]]" = field(default_factory=list)

    def __post_init__(self) -> None:
        for directory in (self.project, self.home, self.root / "run"):
            directory.mkdir(mode=0o700)

    @property
    def project(self) -> Path:
        return self.root / "project"

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def file(self) -> Path:
        return self.project / "sandbox.yaml"

    @property
    def state(self) -> Path:
        return self.root / "state" / "sandboxfile"

    @property
    def argv(self) -> list[str]:
        return [*self.wrapper, sys.executable, "-m", "sandboxfile"]

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "SBX_ACCEL", "USER") if name in os.environ}
        return kept | {
            "HOME": str(self.home),
            "PYTHONPATH": str(REPOSITORY),
            "XDG_STATE_HOME": str(self.root / "state"),
            "XDG_CACHE_HOME": str(self.cache),
            "XDG_RUNTIME_DIR": str(self.root / "run"),
            "TERM": "xterm",
            **self.variables,
        }

    def write(self, text: str) -> None:
        self.file.write_text(text)

    def __call__(
        self,
        *arguments: str,
        code: int = 0,
        any_code: bool = False,
        input: str | bytes | None = None,
        binary: bool = False,
        timeout: float = COMMAND_TIMEOUT,
    ) -> Result:
        """Run a command to its end; it must give `code` unless `any_code`."""
        started = time.monotonic()
        place: dict[str, Any] = {"cwd": self.project, "env": self.environment}
        if self.wrapper:
            assert input is None
            argv = [*self.argv, *arguments]
            streams = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": not binary}
            done = subprocess.run(argv, **place, **streams, timeout=timeout)
        else:
            done = forking.run(arguments, **place, input=input, text=not binary, timeout=timeout)
        self._record(arguments, done, time.monotonic() - started)
        if not any_code:
            assert done.returncode == code, self.log[-1]
        return Result(done.returncode, done.stdout, done.stderr)

    def _record(self, arguments: tuple[str, ...], done: "subprocess.CompletedProcess[Any]", seconds: float) -> None:
        def text(stream: str | bytes) -> str:
            return stream if isinstance(stream, str) else repr(stream[-400:])

        said = f"--- stdout\n{text(done.stdout)[-8000:]}\n--- stderr\n{text(done.stderr)[-8000:]}"
        self.log.append(f"$ sbx {' '.join(arguments)}   -> {done.returncode} in {seconds:.1f} s\n{said}\n")

    def popen(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start a command and leave it running; ended with the test."""
        client = subprocess.Popen(
            [*self.argv, *arguments],
            cwd=self.project,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._clients.append(client)
        return client

    def wait_for(self, condition: Callable[[], Any], timeout: float = WAIT_TIMEOUT) -> Any:
        """Ask until the answer is true, and give it."""
        deadline = time.monotonic() + timeout
        while True:
            if answer := condition():
                return answer
            assert time.monotonic() < deadline, "waited in vain\n" + "\n".join(self.log[-3:])
            time.sleep(0.1)

    def processes(self, role: str | None = None) -> list[int]:
        """Processes that belong to this test's state: all, or only `supervisor`, `gateway`, `qemu`, `virtiofsd`."""
        return [pid for pid, command in _processes_of(self.root).items() if role is None or _plays(role, command)]

    def qmp(self, command: str, **arguments: Any) -> Any:
        """One QMP command to the only machine of this test, over the socket meant for its owner's tools."""
        (path,) = (self.root / "run" / "sandboxfile").glob("*.qmp")
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(path))
            with connection.makefile("rw") as stream:
                for line in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                    stream.write(json.dumps(line) + "\n")
                    stream.flush()
                    while "event" in (reply := json.loads(stream.readline())) or "QMP" in reply:
                        pass
                assert "return" in reply, reply
                return reply["return"]

    def lock_is_held(self, project: str) -> bool:
        """Whether an apply of `project` is under way."""
        from sandboxfile.host.layout import Layout
        from sandboxfile.host.statedir import is_locked

        return is_locked(Layout(self.state, self.cache, self.root / "run").project_lock(project))

    def on_host(self, path: str) -> bool:
        return Path(path).exists()

    def close(self) -> list[int]:
        """End what the test left running, and give what was left by sandboxfile itself (that is a leak)."""
        for client in self._clients:
            if client.poll() is None:
                client.kill()
            client.wait(10)
            for stream in (client.stdout, client.stderr):
                if stream is not None:
                    stream.close()
        deadline = time.monotonic() + 10
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return left


def _processes_of(root: Path) -> dict[int, list[str]]:
    """Processes with our directory in their environment, arguments or open files, but not we ourselves."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes()
            if not arguments:  # a zombie or a kernel thread
                continue
            places = [(entry / "environ").read_bytes(), arguments]
            places += _open_files(entry / "fd")
        except OSError:
            continue
        if any(os.fsencode(root) in place for place in places):
            found[int(entry.name)] = [os.fsdecode(word) for word in arguments.split(b"\0")[:-1]]
    return found


def _open_files(directory: Path) -> list[bytes]:
    found = []
    with contextlib.suppress(OSError):  # ended, or not ours to look into
        for link in directory.iterdir():
            with contextlib.suppress(FileNotFoundError):
                found.append(os.fsencode(link.readlink()))
    return found


def _plays(role: str, command: list[str]) -> bool:
    program = Path(command[0]).name
    if role in ("supervisor", "gateway"):
        return f"sandboxfile.{role}" in command
    return program.startswith("qemu-system") if role == "qemu" else program == role


@pytest.fixture(scope="session")
def shared_cache() -> Path:
    """Where kernels and images of all scenarios are kept."""
    cache = Path(os.environ.get("SBX_TEST_CACHE") or REPOSITORY / ".cache")
    cache.mkdir(parents=True, exist_ok=True)
    return cache


@contextlib.contextmanager
def short_directory() -> Iterator[Path]:
    """A temporary directory with a short name: sockets below it fit into a UNIX address."""
    root = Path(tempfile.mkdtemp(prefix="sbx-", dir="/tmp")).resolve()
    yield root
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def clean_home() -> Iterator[Path]:
    with short_directory() as root:
        yield root


@pytest.fixture
def sbx(request: pytest.FixtureRequest, clean_home: Path, shared_cache: Path) -> Iterator[Sbx]:
    """`sbx(*arguments)` in a fresh project. At the end nothing of it may be running; a failure leaves its logs."""
    with running_sbx(request, clean_home, shared_cache) as runner:
        yield runner


@pytest.fixture(scope="module")
def module_sbx(request: pytest.FixtureRequest, shared_cache: Path) -> Iterator[Sbx]:
    """The same for all tests of a module, which share a sandbox."""
    with short_directory() as root, running_sbx(request, root, shared_cache) as runner:
        yield runner


@contextlib.contextmanager
def running_sbx(request: pytest.FixtureRequest, root: Path, cache: Path) -> Iterator[Sbx]:
    runner = Sbx(root, cache)
    yield runner
    failed = getattr(request.node, "has_failed", False)
    if failed:
        _keep(runner, request.node.name)
        runner("reset", "-y", "--allow-destroy", any_code=True, timeout=120)
    leaked = {pid: _processes_of(runner.root).get(pid) for pid in runner.close()}
    for pid in leaked:
        with contextlib.suppress(ProcessLookupError):  # gone with its parent
            os.kill(pid, signal.SIGKILL)
    assert not leaked or failed, f"left running: {leaked}"


def _keep(runner: Sbx, name: str) -> None:
    """Copy logs and records (not disks) of a failed test to build/artifacts."""
    target = ARTIFACTS / name.replace("/", "-")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    (target / "commands.log").write_text("\n".join(runner.log))
    for path in runner.state.rglob("*"):
        if path.suffix in (".log", ".json", ".journal") and path.is_file():
            kept = target / path.relative_to(runner.state)
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, kept)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(ranks)))


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    if terminal := config.pluginmanager.getplugin("terminalreporter"):  # not in a worker
        config.pluginmanager.register(_ToldAtOnce(terminal))


class _ToldAtOnce:
    """What fails is named when it fails: who cuts a run short must not lose that."""

    def __init__(self, terminal: Any) -> None:
        self._terminal = terminal

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            self._terminal.write_line(f"\n{report.nodeid}: {crash.message[:2000] if crash else report.longrepr}")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: "pytest.CallInfo[None]") -> Any:
    """Let fixtures know whether the test, or what it builds on, has failed."""
    report = yield
    if report.failed:
        for node in (item, item.getparent(pytest.Module)):
            node.has_failed = True  # type: ignore[union-attr]
    return report
