"""The plugin in test runs of its own: sandboxes that are there for tests, and gone afterwards whatever happened."""

import os
import signal
from textwrap import dedent

import pytest

from sandboxfile import pipeline
from sandboxfile.applying import machines
from sandboxfile.host.approvals import Approval, approve
from sandboxfile.host.layout import Layout
from sandboxfile.host.trust import approve as approve_files
from sandboxfile.host.trust import expose, read_trust
from sandboxfile.pytest_plugin import PLACE

from .conftest import FILE, HERE, end_all, fill

pytest_plugins = ["pytester"]

FAKE = 'from sandboxfile.applying import machines\nmachines._MODULE = "local_supervisor"\n'
USES = "def test_it(sandbox):\n    assert sandbox.exec(['echo', 'hello'], check=True).stdout == 'hello\\n'\n"
TWO = FILE + "  db: {}\n"


class Bench:
    """A directory with tests and a sandbox file, and a user whose cache has the images."""

    def __init__(self, pytester, home):
        self.pytester, self.home = pytester, home
        self.layout = Layout.from_environment(os.environ, home, os.getuid())
        self.file = pytester.path / "sandbox.yaml"
        pytester.makeconftest(FAKE)
        self.ini = "[pytest]\naddopts = --strict-markers --strict-config\nfilterwarnings = error\n"
        pytester.makeini(self.ini + "sandboxfile = sandbox.yaml\n")
        self.write(FILE)

    @property
    def place(self):
        return self.layout.state.parent / PLACE

    def write(self, text, name="sandbox.yaml"):
        path = self.pytester.path / name
        path.write_text(text)
        fill(self.layout, path)
        return path

    def run(self, test, *options, **outcomes):
        self.pytester.makepyfile(test_inner=dedent(test))
        done = self.pytester.runpytest_subprocess("-p", "sandboxfile.pytest_plugin", "-p", "no:cacheprovider", *options)
        if outcomes:
            done.assert_outcomes(**outcomes)
        return done

    def left(self):
        """State directories of sessions."""
        return [path for path in self.place.iterdir() if path.is_dir()] if self.place.exists() else []


@pytest.fixture
def bench(pytester, clean_home, monkeypatch):
    for variable in ("SBX_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(variable, raising=False)
    for name in ("state", "cache", "config", "runtime"):
        variable = "XDG_RUNTIME_DIR" if name == "runtime" else f"XDG_{name.upper()}_HOME"
        monkeypatch.setenv(variable, str(clean_home / name))
    monkeypatch.setattr(machines, "_MODULE", "local_supervisor")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parents[1])]))
    bench = Bench(pytester, clean_home)
    yield bench
    for root in bench.left():
        environment = {"XDG_STATE_HOME": str(root), "XDG_RUNTIME_DIR": str(clean_home / "runtime")}
        end_all(Layout.from_environment(environment, clean_home, os.getuid()))


def test_a_test_has_the_sandbox_of_the_file_and_afterwards_nothing_is_left(bench):
    more = """
def test_again(sandbox, sandboxes):
    assert sandboxes["web"] == sandbox
    assert sandbox.status() == "running"
"""
    bench.run(USES + more, passed=2)
    assert bench.left() == []
    assert not bench.layout.sandboxes.joinpath("shop").exists()


def test_a_run_that_asks_for_nothing_makes_nothing(bench):
    bench.run("import sys\ndef test_it():\n    assert 'sandboxfile.api' not in sys.modules\n", passed=1)
    assert not bench.place.exists()


def test_the_sandboxes_of_the_user_are_not_met(bench):
    inner = """
        import pytest
        from sandboxfile import Sandbox, SandboxfileError

        def test_it(sandbox):
            with pytest.raises(SandboxfileError):
                Sandbox.open("own")
        """
    own = bench.layout.sandboxes / "shop/own"
    own.mkdir(parents=True)
    bench.run(inner, passed=1)
    assert own.exists()


@pytest.mark.parametrize(
    "ends", ["assert False", "raise KeyboardInterrupt", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"]
)
def test_nothing_is_left_after_failures_and_interruptions(bench, ends):
    done = bench.run(f"def test_it(sandbox):\n    assert sandbox.status() == 'running'\n    {ends}\n")
    assert done.ret != 0
    assert bench.left() == []


def test_what_a_killed_run_left_is_deleted_by_the_next(bench):
    done = bench.run(f"""
        import os

        def test_it(sandbox):
            assert sandbox.status() == "running"
            os.kill(os.getpid(), {signal.SIGKILL:d})
        """)
    assert done.ret != 0
    [root] = bench.left()
    assert (root / "sandboxfile/sandboxes/shop/web").is_dir()
    bench.run(USES, passed=1)
    assert bench.left() == []


def test_a_run_leaves_that_of_another_alone(bench, monkeypatch):
    inner = """
        import os, subprocess, sys

        def test_it(sandbox):
            words = [sys.executable, "-m", "pytest", "-p", "sandboxfile.pytest_plugin", "inner.py"]
            environment = {**os.environ, "XDG_STATE_HOME": os.environ["OUTER"]}
            done = subprocess.run(words, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout
            assert sandbox.status() == "running"
        """
    bench.pytester.makepyfile(inner=USES)
    monkeypatch.setenv("OUTER", os.environ["XDG_STATE_HOME"])
    bench.run(inner, passed=1)
    assert bench.left() == []


def test_sandboxes_are_kept_on_demand_and_never_swept(bench):
    done = bench.run(USES, "--sandboxfile-keep", passed=1)
    [root] = bench.left()
    done.stdout.fnmatch_lines([f"*env -u SBX_HOME XDG_STATE_HOME={root} XDG_CACHE_HOME=*sbx ls -a*"])
    bench.run(USES, passed=1)
    assert bench.left() == [root]


def test_a_marker_names_file_and_sandbox(bench):
    bench.write(TWO.replace("shop", "other").replace("18080", "18082"), "other.yaml")
    inner = """
        import pytest

        @pytest.mark.sandboxfile("other.yaml", sandbox="db")
        def test_marked(sandbox):
            assert str(sandbox) == "other/db"

        @pytest.mark.sandboxfile("other.yaml")
        class TestClass:
            @pytest.mark.sandboxfile(sandbox="web")
            def test_both(self, sandbox):
                assert str(sandbox) == "other/web"

        def test_other(sandbox):
            assert str(sandbox) == "shop/web"

        @pytest.fixture(scope="session")
        def wide(sandbox_projects):
            return sandbox_projects("sandbox.yaml")["web"]

        def test_wide(wide, sandbox):
            assert wide == sandbox
        """
    bench.run(inner, passed=4)


@pytest.mark.parametrize(
    ("text", "marker", "said"),
    [
        (TWO, "", ["*which sandbox is meant? Mark the test with sandboxfile(sandbox=*db, web"]),
        (TWO, "sandbox='wbe'", ["*has no sandbox wbe*", "hint: *web*"]),
        (FILE, "'none.yaml'", ["*there is no file *none.yaml"]),
    ],
)
def test_what_is_not_clear_is_told_without_our_own_lines(bench, text, marker, said):
    bench.write(text)
    done = bench.run(f"import pytest\n@pytest.mark.sandboxfile({marker})\ndef test_it(sandbox): pass\n", errors=1)
    done.stdout.fnmatch_lines(said)
    assert "pytest_plugin.py" not in done.stdout.str().replace("test_pytest_plugin.py", "")
    assert "another exception" not in done.stdout.str()
    assert bench.left() == []


def test_without_any_file_it_says_how_to_name_one(bench):
    bench.pytester.makeini(bench.ini)
    done = bench.run(USES, errors=1)
    done.stdout.fnmatch_lines(["*which sandbox file is meant?*ini option `sandboxfile`*"])


def test_two_files_of_one_project_are_told_apart(bench):
    bench.write(FILE, "other.yaml")
    inner = "import pytest\n@pytest.mark.sandboxfile('other.yaml')\ndef test_other(sandbox): pass\n"
    bench.run(USES + inner, passed=1, errors=1).stdout.fnmatch_lines(["*are both of the project shop*"])


def test_a_wrong_file_is_told_with_its_place(bench):
    bench.file.write_text("name: shop\nsandboxes: {web: {colour: red}}\n")
    bench.run(USES, errors=1).stdout.fnmatch_lines([f"*{bench.file}:2:19*", "*colour: red*"])


def test_the_state_of_the_user_is_no_workspace_in_tests_either(bench):
    bench.layout.state.mkdir(parents=True, exist_ok=True)
    bench.file.write_text(f"name: shop\nsandboxes: {{web: {{workspaces: [{bench.layout.state}]}}}}\n")
    bench.run(USES, errors=1).stdout.fnmatch_lines(["*sandbox.yaml:2:*"])


def test_what_the_user_approved_is_approved_and_nothing_else(bench, monkeypatch):
    monkeypatch.setenv("KEY", "value-of-the-key")
    secret = "secrets: {key: {env: KEY, inject: [{host: api.example.com, header: X-Key}]}}\n"
    bench.write(FILE.replace('80"]}', '80"], secrets: [key]}') + secret)
    bench.run(USES, errors=1).stdout.fnmatch_lines(
        ["*not approved*", "hint: sbx secret approve key api.example.com:443"]
    )
    approve(bench.layout, [Approval("env KEY", "api.example.com", 443)])
    bench.run(USES, passed=1)


def test_a_file_that_an_agent_could_have_changed_is_not_brought_up(bench):
    expose(bench.layout, {str(bench.file.parent): frozenset()})
    bench.run(USES, errors=1).stdout.fnmatch_lines(["*nothing was changed: a sandbox could have written these files*"])
    approve_files(bench.layout, pipeline.load(bench.file, bench.layout).everything)
    bench.run(USES, passed=1)


def test_what_sandboxes_of_tests_could_write_is_remembered(bench):
    (bench.file.parent / "src").mkdir()
    bench.write(FILE.replace("web: {", "web: {workspaces: [./src], "))
    bench.run(USES, passed=1)
    assert read_trust(bench.layout).exposed == {str(bench.file.parent / "src")}


def test_where_sbx_home_is_set_everything_stays_below_it(bench, clean_home, monkeypatch):
    home = clean_home / "moved"
    monkeypatch.setenv("SBX_HOME", str(home))
    cache = home / "cache-of-tests"
    environment = {"XDG_STATE_HOME": str(clean_home / "unused"), "XDG_CACHE_HOME": str(cache)}
    fill(Layout.from_environment(environment, clean_home, os.getuid()), bench.file)
    bench.run(USES + "    assert 'SBX_HOME' not in __import__('os').environ\n", passed=1)
    assert [path.name for path in (home / PLACE).iterdir() if path.is_dir()] == []
