"""The main road without root: kernel, image, jail, file servers and machine of a user who has only subordinate ids.

When the tests already run as such a user every scenario shows this. As root it makes a user for the purpose, which
changes /etc/passwd: so only in CI, or with SBX_TEST_USER=1.
"""

import os
import pwd
import shlex
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.vm,
    pytest.mark.skipif(os.getuid() != 0, reason="all scenarios run as an ordinary user here"),
    pytest.mark.skipif(
        not (os.environ.get("CI") or os.environ.get("SBX_TEST_USER")), reason="makes a user: set SBX_TEST_USER=1"
    ),
]

NAME = "sbx-test"
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def user():
    subprocess.run(["useradd", "--no-create-home", "--shell", "/bin/sh", NAME], check=True)
    try:
        first = 300_000_000  # clear of what useradd gives; taken back with the user
        subprocess.run(
            ["usermod", f"--add-subuids={first}-{first + 65535}", f"--add-subgids={first}-{first + 65535}", NAME],
            check=True,
        )
        found = pwd.getpwnam(NAME)
        yield found
        deadline = time.monotonic() + 15
        while processes_of(found.pw_uid) and time.monotonic() < deadline:  # the gateway leaves a moment after the last
            time.sleep(0.1)
        assert not processes_of(found.pw_uid)
    finally:
        subprocess.run(["userdel", NAME], check=True)


def processes_of(uid: int) -> list[str]:
    """Those that live, by what they were started with."""
    return subprocess.run(["ps", "-u", str(uid), "-o", "args="], capture_output=True, text=True).stdout.splitlines()


def hidden(path: Path) -> Path | None:
    """The topmost directory on the way to `path` that others may not enter (an interpreter in root's home)."""
    for directory in reversed([path, *path.parents]):
        if not directory.stat().st_mode & stat.S_IXOTH:
            return directory
    return None


def uncover(paths: list[Path], scratch: Path) -> str:
    """Shell lines that, in a mount namespace of their own, show only `paths` of what is hidden from others."""

    def bind(source: Path, target: Path) -> str:
        return (
            f"mkdir -p {shlex.quote(str(target))}; mount --bind {shlex.quote(str(source))} {shlex.quote(str(target))}"
        )

    covered = [(cover, path, scratch / str(number)) for number, path in enumerate(paths) if (cover := hidden(path))]
    lines = [bind(path, place) for _, path, place in covered]
    lines += [
        f"mount -t tmpfs -o mode=755 tmpfs {shlex.quote(str(cover))}" for cover in {cover for cover, *_ in covered}
    ]
    lines += [bind(place, path) for _, path, place in covered]
    return "\n".join(lines)


def test_an_ordinary_user_builds_and_runs_a_sandbox(sbx, user):
    needed = list(dict.fromkeys(Path(place).resolve() for place in (sys.base_prefix, sys.prefix, REPOSITORY)))
    environment = sbx.environment | {"XDG_CACHE_HOME": str(sbx.root / "cache"), "USER": NAME}
    for path in [sbx.root, *sbx.root.rglob("*")]:
        os.chown(path, user.pw_uid, user.pw_gid)

    def run(*arguments, code=0):
        script = f"set -e\n{uncover(needed, sbx.root / 'shown')}\ncd {sbx.project}\n" + shlex.join(
            ["exec", "setpriv", f"--reuid={NAME}", f"--regid={NAME}", "--init-groups", *sbx.argv, *arguments]
        )
        done = subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
            env=environment,
            capture_output=True,
            text=True,
            timeout=400,
        )
        sbx.log.append(f"$ (user) sbx {' '.join(arguments)} -> {done.returncode}\n{done.stdout}{done.stderr}")
        assert done.returncode == code, sbx.log[-1]
        return done.stdout

    sbx.write("name: plain\nsandboxes:\n  box: {workspaces: [.], resources: {cpus: 1, memory: 512MiB, disk: 4GiB}}\n")
    os.chown(sbx.file, user.pw_uid, user.pw_gid)
    run("up", "-y")
    try:
        assert run("exec", "box", "uname", "-n") == "box\n"
        assert run("exec", "box", "sudo", "id", "-u") == "0\n"
        run("exec", "box", "sh", "-c", "echo agent > by-agent; sudo sh -c 'echo root > by-root'")
        assert (sbx.project / "by-agent").stat().st_uid == user.pw_uid
        assert (sbx.project / "by-root").stat().st_uid not in (0, user.pw_uid)
        for qemu in sbx.processes("qemu"):
            assert Path(f"/proc/{qemu}").stat().st_uid == user.pw_uid
        run("plan", "--detailed-exitcode")
    finally:
        run("down", "-y")
