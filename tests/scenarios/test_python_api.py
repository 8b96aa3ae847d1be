"""The Python API and the pytest plugin on a real machine: another program's use of both, in processes of its own."""

import subprocess
import sys
from textwrap import dedent

import pytest

pytestmark = pytest.mark.vm

FILE = """\
name: python
sandboxes:
  box:
    workspaces: [.]
    resources: {cpus: 1, memory: 512MiB, disk: 4GiB}
    ports: ["127.0.0.1:18743:8000"]
"""
PROGRAM = """
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from sandboxfile import ExecTimeout, Sandbox, apply, load, plan

project = load("sandbox.yaml")
told = []
assert apply(project, on_progress=told.append).ok and told
assert not plan(project).steps, plan(project)
box = project["box"]
assert box == Sandbox.open("python/box") and box.status() == "running"

done = box.exec(["sh", "-c", "pwd; cat; echo err >&2; exit 7"], input="in\\n")
assert (done.returncode, done.stderr) == (7, "err\\n"), done
assert done.stdout.splitlines()[1:] == ["in"]
data = bytes(range(256)) * 20_000
box.write_file("/tmp/data", data)
assert box.read_file("/tmp/data") == data
assert box.exec("id -un; echo $A", user="root", env={"A": "x y"}, cwd="/").stdout == "root\\nx y\\n"
with ThreadPoolExecutor(8) as pool:
    done = list(pool.map(lambda number: box.exec(f"sleep 1; echo {number}; exit {number}"), range(8)))
assert [(each.returncode, each.stdout) for each in done] == [(n, f"{n}\\n") for n in range(8)]

try:
    box.exec(["sleep", "4321"], timeout=2)
except ExecTimeout:
    pass
else:
    raise AssertionError("it slept to its end")
gone = "for try in $(seq 100); do grep -qsa '432[1]' /proc/[0-9]*/cmdline || exit 0; sleep 0.1; done; exit 1"
assert box.exec(gone).returncode == 0

serve = '''
use Socket; socket(S, PF_INET, SOCK_STREAM, 0); setsockopt(S, SOL_SOCKET, SO_REUSEADDR, 1);
bind(S, sockaddr_in(8000, INADDR_ANY)) or die; listen(S, 9); open(F, ">/tmp/listens");
while (accept(C, S)) { sysread(C, $x, 4096); syswrite(C, "HTTP/1.0 200 OK\\r\\n\\r\\nhello"); close(C) }
'''
box.write_file("/tmp/serve.pl", serve)
listens = "until [ -e /tmp/listens ]; do sleep 0.1; done"
box.exec(f"setsid perl /tmp/serve.pl </dev/null >/dev/null 2>&1 & {listens}", timeout=60)
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def fetched(address, port):
    with opener.open(f"http://{address}:{port}/", timeout=30) as answer:
        return answer.read()


assert box.port(8000) == ("127.0.0.1", 18743)
assert fetched(*box.port(8000)) == b"hello"
with box.forward(8000) as place:
    assert fetched(*place) == b"hello"
    port = place[1]
try:
    fetched("127.0.0.1", port)
except OSError:
    pass
else:
    raise AssertionError("the forward outlived its block")

box.exec(["perl", "-MIO::Socket::INET", "-e", "IO::Socket::INET->new('blocked.example.com:443')"], timeout=60)
assert any("blocked.example.com" in record.target for record in box.network_log(blocked=True)), box.network_log()

box.stop()
assert box.status() == "stopped"
box.start()
assert box.exec(["uname", "-n"], timeout=60).stdout == "box\\n"
box.remove()
assert [step for step in plan(project).steps if step.key == "create box"]
print("all is well")
"""
TESTS = """
def test_it_runs(sandbox):
    assert sandbox.exec(["uname", "-s"], check=True).stdout == "Linux\\n"
    sandbox.write_file("/tmp/state", "kept between tests")


def test_it_is_shared(sandbox, sandboxes):
    assert sandbox.read_file("/tmp/state") == b"kept between tests"
    assert sandboxes["box"] == sandbox


def test_that_fails(sandbox):
    assert sandbox.status() == "stopped"
"""


# Warnings are errors, except one of the plugin that comes with anyio.
SETTINGS = """\
[pytest]
sandboxfile = sandbox.yaml
filterwarnings =
    error
    ignore:_pytest.python.CallSpec2 has been renamed
"""


def python(sbx, *words, code=0):
    done = subprocess.run(
        [sys.executable, *words], cwd=sbx.project, env=sbx.environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_a_program_brings_sandboxes_up_uses_them_and_takes_them_down(sbx):
    sbx.write(FILE)
    (sbx.root / "program.py").write_text(PROGRAM)
    assert "all is well" in python(sbx, str(sbx.root / "program.py"))
    assert sbx("ls", "-a", "-q").stdout == ""


def test_a_test_run_has_sandboxes_of_its_own_and_leaves_nothing(sbx):
    sbx.write(FILE)
    sbx("up", "-y")
    sbx.write(FILE.replace("18743", "18744"))  # the user's own has the other port, and the same name
    (sbx.project / "test_inner.py").write_text(dedent(TESTS))
    (sbx.project / "pytest.ini").write_text(SETTINGS)
    loaded = [] if _autoloaded() else ["-p", "sandboxfile.pytest_plugin"]
    words = ["-m", "pytest", *loaded, "-p", "no:cacheprovider", "--strict-markers", "--strict-config"]
    said = python(sbx, *words, code=1)
    assert "1 failed, 2 passed" in said, said
    assert [path for path in (sbx.root / "state/sandboxfile-pytest").iterdir() if path.is_dir()] == []
    assert sbx("ls", "-q").stdout == "python/box\n"
    assert len(sbx.processes("supervisor")) == 1
    sbx("down", "-y")


def _autoloaded():
    from importlib.metadata import entry_points

    return any(point.value == "sandboxfile.pytest_plugin" for point in entry_points(group="pytest11"))
