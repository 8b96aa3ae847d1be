"""Sandboxes for other people's tests: pytest loads this by itself where sandboxfile is installed.

    # pyproject.toml
    [tool.pytest.ini_options]
    sandboxfile = "tests/sandbox.yaml"

    # a test
    def test_the_tool_starts_without_network(sandbox):
        sandbox.exec(["./tool", "--version"], check=True)

    @pytest.mark.sandboxfile("other/sandbox.yaml", sandbox="web")
    def test_another(sandbox, sandboxes): ...

`sandbox` is a `sandboxfile.Sandbox`, `sandboxes` the `sandboxfile.Project`; for fixtures of a wider scope there is
`sandbox_projects`, a function from a file's path to its project. A file is brought up once, when the first test asks
for it, and shared by all tests of the session. Its sandboxes are in a state directory of the session's own, so a test
run never meets the user's own sandboxes; images come from the user's cache. At the end they are deleted, also after
failures, Ctrl-C and SIGTERM, and those of a session that was killed by the next. `--sandboxfile-keep` leaves them.

Loads nothing of sandboxfile until a fixture is asked for, and changes nothing of a test run that asks for none, except
that it knows the marker, the option and the fixtures.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from sandboxfile import Project, Sandbox
    from sandboxfile.api.scratch import Scratch

PLACE = "sandboxfile-pytest"  # beside the state directory of sandboxfile
_KEPT = pytest.StashKey["Scratch"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("sandboxfile", "the sandbox file of the fixtures `sandbox` and `sandboxes`", default="")
    group = parser.getgroup("sandboxfile")
    group.addoption("--sandboxfile-keep", action="store_true", help="leave the sandboxes of the session running")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "sandboxfile(path=None, *, sandbox=None): the sandbox file for this test, relative to the root directory, "
        "and which of its sandboxes is meant",
    )


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    kept = config.stash.get(_KEPT, None)
    if kept is not None:
        words = [f"{name}={value}" if value is not None else f"-u {name}" for name, value in kept.variables.items()]
        words.sort(key=lambda word: not word.startswith("-u"))
        terminalreporter.write_line(f"sandboxes are left; to see them: env {' '.join(words)} sbx ls -a")
        terminalreporter.write_line(f"to delete them: the same with `sbx reset`, and then rm -r {kept.root}")


@pytest.fixture(scope="session")
def sandbox_projects(pytestconfig: pytest.Config) -> "Iterator[Callable[[str | os.PathLike[str]], Project]]":
    """`sandbox_projects(path)`: the project of a sandbox file, brought up; `path` is relative to the root directory."""
    from sandboxfile.api.scratch import scratch

    before = dict(os.environ)
    with _termination_interrupts(), scratch(before, PLACE) as place, pytest.MonkeyPatch.context() as environment:
        yield _Projects(pytestconfig.rootpath, place, environment)
        if pytestconfig.getoption("--sandboxfile-keep"):
            place.keep()
            pytestconfig.stash[_KEPT] = place


@pytest.fixture
def sandboxes(
    request: pytest.FixtureRequest, sandbox_projects: "Callable[[str | os.PathLike[str]], Project]"
) -> "Project":
    """The project of the test's sandbox file, brought up: `sandboxes["web"]` is one of its sandboxes."""
    path, _ = _chosen(request.node)
    path = path or request.config.getini("sandboxfile")
    if not path:
        pytest.fail(
            'which sandbox file is meant? Mark the test with sandboxfile("PATH"), or set the ini option `sandboxfile`',
            pytrace=False,
        )
    return sandbox_projects(path)


@pytest.fixture
def sandbox(request: pytest.FixtureRequest, sandboxes: "Project") -> "Sandbox":
    """The only sandbox of the test's sandbox file, or the one that its marker names."""
    _, name = _chosen(request.node)
    if name is None and len(sandboxes) != 1:
        names = ", ".join(sandboxes.names) or "none"
        pytest.fail(f'which sandbox is meant? Mark the test with sandboxfile(sandbox="NAME"): {names}', pytrace=False)
    with _failing():
        return sandboxes[name or sandboxes.names[0]]


class _Projects:
    """Those of one session, by the path of their file."""

    def __init__(self, root: Path, place: "Scratch", environment: pytest.MonkeyPatch) -> None:
        self._root, self._place, self._environment = root, place, environment
        self._found: dict[Path, Project] = {}
        self._entered = False

    def __call__(self, path: str | os.PathLike[str]) -> "Project":
        place = Path(os.path.abspath(self._root / path))  # noqa: PTH100 - `..` is text here, as in `sbx -f`
        if place not in self._found:
            with _failing():
                self._found[place] = self._bring_up(place)
        return self._found[place]

    def _bring_up(self, path: Path) -> "Project":
        from sandboxfile import SandboxfileError, apply, load

        if not self._entered:
            load(path)  # what the user's own state directory forbids (to be a workspace) stays forbidden
            self._enter()
        project = load(path)
        for other in self._found.values():
            if other.name == project.name:
                raise SandboxfileError(
                    f"{other.path} and {path} are both of the project {project.name}", hint="give one another `name`"
                )
        apply(project)
        return project

    def _enter(self) -> None:
        """From now on this process, and what it starts, finds the session's sandboxes and no others."""
        self._entered = True
        for name, value in self._place.variables.items():
            if value is None:
                self._environment.delenv(name, raising=False)
            else:
                self._environment.setenv(name, value)


def _chosen(node: pytest.Item) -> tuple[str | None, str | None]:
    """File and sandbox that the closest markers name: a test's own `sandbox=` goes with the file of its module's."""
    path: str | None = None
    name: str | None = None
    for marker in node.iter_markers("sandboxfile"):
        if path is None:
            path = marker.args[0] if marker.args else marker.kwargs.get("path")
            name = name or marker.kwargs.get("sandbox")
    return path, name


@contextmanager
def _failing() -> Iterator[None]:
    """What is wrong with a sandbox or its file is said as such, without the lines of our own code."""
    from sandboxfile import SandboxfileError

    try:
        yield
    except SandboxfileError as exc:
        problem = "\n".join([str(exc), *getattr(exc, "__notes__", [])])
        raise pytest.fail.Exception(problem, pytrace=False) from None  # else pytest shows both


@contextmanager
def _termination_interrupts() -> Iterator[None]:
    """SIGTERM ends the session as Ctrl-C does, with all that fixtures have to do at their end."""
    usual = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if not usual or threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
