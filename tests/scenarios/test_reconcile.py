"""`sbx reconcile` follows a real repository: pushes, bad pushes, interference, its own death, and 200 pushes in a row.

One sandbox for the whole module. Every commit is signed, and the host knows by whom; what must not be done is pushed
upon what was, and taken back afterwards.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.vm

FILE = """\
name: gitops
policies:
  net:
    allow: [{host}.example.com:443]
    tests: {{allow: ["https://{host}.example.com/"], deny: ["https://{denied}.example.com/"]}}
sandboxes:
  box:
    workspaces: [.]
    resources: {{cpus: 1, memory: {memory}, disk: 4GiB}}
    env: {{ROUND: "{round}"}}
    policy: net
"""
PUSHES = 200
LOOP_TAKES = 120.0  # seconds of processor time for all of them, at most: other time is that of others


@dataclass
class Repository:
    """A bare one that is followed, and a clone of it in which somebody works."""

    root: Path
    home: Path

    @property
    def origin(self) -> str:
        return f"file://{self.root}/shop.git"

    @property
    def work(self) -> Path:
        return self.root / "work"

    def git(self, *words: str, key: str = "signer") -> str:
        settings = ("user.name=a", "user.email=a@example.com", "gpg.format=ssh", f"user.signingKey={self.root / key}")
        argv = ["git", *(word for setting in settings for word in ("-c", setting)), *words]
        environment = {"HOME": str(self.home), "PATH": os.environ["PATH"]}
        return subprocess.run(
            argv, cwd=self.work, env=environment, capture_output=True, text=True, check=True
        ).stdout.strip()

    def prepare(self) -> None:
        self.work.mkdir()
        for key in ("signer", "stranger"):
            argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.root / key)]
            subprocess.run(argv, check=True)
        known = self.root / "allowed-signers"
        known.write_text(f"a@example.com {(self.root / 'signer.pub').read_text()}")
        (self.home / ".gitconfig").write_text(f'[gpg "ssh"]\n\tallowedSignersFile = {known}\n')
        self.git("init", "-q", "--bare", "-b", "main", str(self.root / "shop.git"))
        self.git("init", "-q", "-b", "main")
        self.git("remote", "add", "origin", self.origin)

    def push(self, text: str, *, signed: bool = True, key: str = "signer") -> str:
        (self.work / "sandbox.yaml").write_text(text)
        return self.push_all(signed=signed, key=key)

    def push_all(self, *, signed: bool = True, key: str = "signer") -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "change", "-S" if signed else "--no-gpg-sign", key=key)
        self.git("push", "-q", "origin", "main")
        return self.git("rev-parse", "HEAD")

    def take_back(self) -> str:
        self.git("reset", "-q", "--hard", "HEAD~1")
        self.git("push", "-q", "--force", "origin", "main")
        return self.git("rev-parse", "HEAD")


def text(round=0, host="good", denied="other", memory="512MiB"):
    return FILE.format(round=round, host=host, denied=denied, memory=memory)


@pytest.fixture(scope="module")
def sbx(module_sbx):
    return module_sbx


@pytest.fixture(scope="module")
def repository(sbx):
    repository = Repository(sbx.root, sbx.home)
    repository.prepare()
    return repository


@pytest.fixture(scope="module")
def followed(sbx, repository):
    """A first commit, applied."""
    commit = repository.push(text())
    sbx("reconcile", "--git", repository.origin, "--once", "--verify-signatures")
    assert status(sbx)["applied"] == commit
    yield repository
    sbx("reset", "-y")


def status(sbx):
    return json.loads((sbx.root / "state/sandboxfile/reconcile/shop/status.json").read_bytes())


def round_inside(sbx):
    return sbx("exec", "gitops/box", "sh", "-c", "echo $ROUND").stdout.strip()


@contextlib.contextmanager
def loop(sbx, repository, *options):
    """One at work, its words in a file. Ended by TERM, in order, unless it was killed."""
    argv = [*sbx.argv, "reconcile", "--git", repository.origin, "--interval", "100ms", *options]
    with (sbx.root / "loop.log").open("a") as log:
        process = subprocess.Popen(
            argv, cwd=sbx.project, env=sbx.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        yield process
        process.terminate()
        assert process.wait(60) in (0, -signal.SIGKILL), (sbx.root / "loop.log").read_text()[-4000:]
    finally:
        process.kill()
        process.wait()
        sbx.log.append((sbx.root / "loop.log").read_text()[-4000:])


def test_a_push_is_applied_and_the_tree_follows_in_place(sbx, followed):
    (followed.work / "notes").mkdir()
    (followed.work / "notes/first").write_text("from the commit\n")
    commit = followed.push(text(round=1))
    with loop(sbx, followed, "--verify-signatures", "--deny-widening"):
        sbx.wait_for(lambda: status(sbx)["applied"] == commit)
        assert round_inside(sbx) == "1"
        assert sbx("exec", "gitops/box", "cat", "notes/first").stdout == "from the commit\n"

        (followed.work / "notes/first").unlink()
        (followed.work / "notes/second").write_text("later\n")
        commit = followed.push_all()
        sbx.wait_for(lambda: status(sbx)["applied"] == commit)
        assert sbx("exec", "gitops/box", "ls", "notes").stdout == "second\n"

    found = json.loads(sbx("status", "gitops/box", "--format", "json").stdout)["reconcile"]
    assert (found["name"], found["state"], found["applied"]) == ("shop", "applied", commit)
    assert "sbx reconcile shop" in sbx("status", "gitops/box").stdout


def test_what_an_agent_writes_into_the_tree_is_never_loaded(sbx, followed):
    wider = "policies: {net: {mode: allow}}"
    script = (
        f"echo '{wider}' > sandbox.override.yaml; echo A=b > .env; echo '{wider}' > sandbox.yml;"
        "rm -rf notes; ln -s /etc notes; rm -f sandbox.yaml; echo '{wider}' > sandbox.yaml; true"
    )
    sbx("exec", "gitops/box", "sh", "-c", script)
    before = json.loads(sbx("status", "gitops/box", "--format", "json").stdout)["spec"]["policy"]
    commit = followed.push(text(round=2))
    sbx("reconcile", "--git", followed.origin, "--once", "--deny-widening")
    after = json.loads(sbx("status", "gitops/box", "--format", "json").stdout)["spec"]["policy"]
    assert [layer["mode"] for layer in after["layers"]] == [layer["mode"] for layer in before["layers"]]
    assert status(sbx)["applied"] == commit
    tree = sbx.root / "state/sandboxfile-reconcile/tree/shop"
    assert (tree / "sandbox.yaml").read_text() == text(round=2)
    assert (tree / "notes").is_dir()
    assert not (tree / "notes").is_symlink()
    sbx("exec", "gitops/box", "sh", "-c", "rm -f sandbox.override.yaml sandbox.yml .env; true")


BAD = {
    "syntax": (text() + "  broken: [\n", {}, 1, "file", "sandbox.yaml:1"),
    "policy test": (text(denied="good"), {}, 1, "policy-test", "sandbox.yaml:5:"),
    "widening": (text(host="wide"), {}, 3, "widening", "wide.example.com"),
    "unsigned": (text(round=9), {"signed": False}, 1, "signature", "no signature that is good here"),
    "another's signature": (text(round=9), {"key": "stranger"}, 1, "signature", "no signature that is good here"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_push_changes_nothing_and_the_status_says_why(sbx, followed, bad):
    content, signing, code, reason, message = BAD[bad]
    before = status(sbx)["applied"]
    round_before = round_inside(sbx)
    culprit = followed.push(content, **signing)
    options = ("--once", "--deny-widening", "--verify-signatures")
    sbx("reconcile", "--git", followed.origin, *options, code=code)

    found = status(sbx)
    assert (found["state"], found["reason"], found["culprit"]) == ("failed", reason, culprit)
    assert message in found["message"]
    assert (found["applied"], found["begun"], found["commit"]) == (before, before, culprit)
    assert round_inside(sbx) == round_before
    said = sbx("reconcile", "--status", code=1).stdout
    assert message in said

    commit = followed.take_back()
    sbx("reconcile", "--git", followed.origin, *options)
    assert (status(sbx)["state"], status(sbx)["applied"]) == ("applied", commit)


def test_drift_is_mended_although_the_newest_commit_is_bad(sbx, followed):
    followed.push(text() + "  broken: [\n")
    sbx("stop", "gitops/box")
    with loop(sbx, followed):
        sbx.wait_for(lambda: status(sbx)["counts"]["drifts"] > 0)
        assert json.loads(sbx("status", "gitops/box", "--format", "json").stdout)["status"] == "running"
        assert status(sbx)["reason"] == "file"
    followed.take_back()
    sbx("reconcile", "--git", followed.origin, "--once")


def test_a_suspended_one_does_nothing_until_it_is_resumed(sbx, followed):
    before = status(sbx)["applied"]
    sbx("reconcile", "--suspend")
    commit = followed.push(text(round=3))
    sbx("reconcile", "--git", followed.origin, "--once")
    assert (status(sbx)["applied"], status(sbx)["suspended"]) == (before, True)
    sbx("reconcile", "--resume")
    sbx("reconcile", "--git", followed.origin, "--once")
    assert (status(sbx)["applied"], status(sbx)["suspended"]) == (commit, False)


@pytest.mark.parametrize("state", ["planned", "applying"])
def test_killed_while_it_applies_it_converges_when_it_is_started_again(sbx, followed, state):
    memory = {"planned": "576MiB", "applying": "512MiB"}[state]
    commit = followed.push(text(round=4, memory=memory))
    with loop(sbx, followed) as process:
        sbx.wait_for(lambda: status(sbx)["begun"] == commit)
        if state == "applying":
            sbx.wait_for(lambda: sbx.lock_is_held("gitops"))
            time.sleep(1)  # somewhere in the middle
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert status(sbx)["applied"] != commit
    sbx("reconcile", "--git", followed.origin, "--once")
    assert (status(sbx)["state"], status(sbx)["applied"]) == ("applied", commit)
    assert round_inside(sbx) == "4"
    turns = status(sbx)["counts"]["applies"]
    sbx("reconcile", "--git", followed.origin, "--once")
    assert status(sbx)["counts"]["applies"] == turns, "it had not come to rest"


def test_two_hundred_pushes_leave_nothing_behind(sbx, followed):
    clone = sbx.root / "state/sandboxfile/reconcile/shop/clone.git"
    samples = []
    started = time.monotonic()
    with loop(sbx, followed, "--deny-widening") as process:
        for number in range(1, PUSHES + 1):
            commit = followed.push(text(round=100 + number, memory="512MiB"), signed=False)
            sbx.wait_for(lambda: status(sbx)["applied"] == commit)  # noqa: B023
            if number % 50 == 0:
                samples.append(used(process.pid, clone))
    took = time.monotonic() - started
    assert round_inside(sbx) == str(100 + PUSHES)
    first, *_, last = samples
    assert last["processor"] < LOOP_TAKES, samples
    assert last["descriptors"] <= first["descriptors"], samples
    assert last["children"] <= 1, samples  # a git at work
    assert last["memory"] - first["memory"] < 16 << 20, samples
    assert last["files"] < 600, samples
    assert last["disk"] < 4 << 20, samples
    print(f"{PUSHES} pushes in {took:.0f} s; {samples}")


def used(pid, clone):
    """Memory and disk in bytes, processor time of it and its children in seconds, and counts."""
    proc = Path(f"/proc/{pid}")
    stat = (proc / "stat").read_text().rpartition(")")[2].split()
    resident = int((proc / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    children = [path for path in proc.glob("task/*/children") if path.read_text().strip()]
    sizes = []
    for path in clone.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            sizes.append(path.stat().st_size if path.is_file() else 0)
    return {
        "memory": resident,
        "descriptors": len(list((proc / "fd").iterdir())) - git_pipes(proc),
        "children": len(children),
        "processor": sum(int(field) for field in stat[11:15]) / os.sysconf("SC_CLK_TCK"),
        "files": len(sizes),
        "disk": sum(sizes),
    }


def git_pipes(proc):
    """Descriptors that a git at work has: two pipes or three for each child."""
    return 3 * sum(len(path.read_text().split()) for path in proc.glob("task/*/children"))
