"""Workspaces on a running machine: live changes, both directions, read-only that holds against root, no way out."""

import json
import os
import subprocess

import pytest

pytestmark = pytest.mark.vm

BOX = "resources: {cpus: 1, memory: 512MiB, disk: 4GiB}"


def write(sbx, *workspaces):
    listed = "".join(f"      - {workspace}\n" for workspace in workspaces)
    sbx.write(f"name: spaces\nsandboxes:\n  box:\n    {BOX}\n    workspaces:\n{listed}")


@pytest.fixture(scope="module")
def running(module_sbx):
    """One machine for all tests that only need other workspaces: those come and go live."""
    write(module_sbx, ".")
    module_sbx("up", "-y")
    yield module_sbx
    module_sbx("down", "-y")


def test_workspaces_change_while_processes_inside_go_on(running, tmp_path):
    sbx = running
    docs, lib = tmp_path / "docs", tmp_path / "lib"
    for directory in (docs, lib):
        directory.mkdir()
        (directory / "file").write_text("from the host\n")
    sbx("exec", "-d", "box", "sh", "-c", "while sleep 0.2; do date +%s.%N > beat; done")
    boot = sbx("exec", "box", "cat", "/proc/sys/kernel/random/boot_id").stdout

    write(sbx, ".", f"{docs}:ro", f"{lib}:/opt/lib")
    plan = sbx("plan").stdout
    assert "live" in plan
    assert "restart" not in plan.replace("restarted", "")
    sbx("up", "-y")
    assert sbx("exec", "box", "cat", str(docs / "file"), "/opt/lib/file").stdout == "from the host\n" * 2
    sbx("exec", "box", "sh", "-c", f"echo x > {docs}/new", code=1, any_code=True)
    assert not (docs / "new").exists()
    sbx("exec", "box", "sh", "-c", "echo x > /opt/lib/new")
    assert (lib / "new").exists()

    write(sbx, ".", f"{docs}:rw", f"{lib}:/opt/lib:ro")
    sbx("up", "-y")
    sbx("exec", "box", "sh", "-c", f"echo x > {docs}/new")
    assert (docs / "new").read_text() == "x\n"
    assert sbx("exec", "box", "sh", "-c", "echo y > /opt/lib/second", any_code=True).code != 0
    assert not (lib / "second").exists()

    write(sbx, ".")
    sbx("up", "-y")
    sbx("exec", "box", "test", "-e", "/opt/lib/file", any_code=True, code=1)
    assert sbx("exec", "box", "cat", "/proc/sys/kernel/random/boot_id").stdout == boot
    before = (sbx.project / "beat").read_text()
    sbx.wait_for(lambda: (sbx.project / "beat").read_text() not in ("", before))
    assert sbx("plan", "--detailed-exitcode", code=0)
    sbx("exec", "box", "pkill", "-f", "beat")


def test_read_only_holds_against_root_inside_and_links_never_leave(running, tmp_path):
    sbx = running
    secret = tmp_path / "secret"
    secret.write_text("host only\n")
    shown = tmp_path / "shown"
    shown.mkdir()
    (shown / "absolute").symlink_to(secret)
    (shown / "relative").symlink_to("../secret")
    (shown / "system").symlink_to("/etc/hostname")
    write(sbx, ".", f"{shown}:ro")
    sbx("up", "-y")
    attempts = (
        f"mount -o remount,rw {shown}; touch {shown}/x; rm -f {shown}/system; chmod 777 {shown}; "
        f"mount -o remount,bind,rw {shown}; touch {shown}/y; ln -s / {shown}/z; true"
    )
    before = shown.stat().st_mode
    sbx("exec", "-u", "root", "box", "sh", "-c", attempts)
    assert sorted(path.name for path in shown.iterdir()) == ["absolute", "relative", "system"]
    assert shown.stat().st_mode == before
    for link in ("absolute", "relative"):
        assert sbx("exec", "box", "cat", f"{shown}/{link}", any_code=True).code != 0
    assert sbx("exec", "box", "cat", f"{shown}/system").stdout == "box\n"
    sbx("exec", "box", "ln", "-s", str(secret), "out")
    sbx("exec", "box", "sh", "-c", "echo overwritten > out", any_code=True)
    assert secret.read_text() == "host only\n"


def test_what_is_outside_the_workspaces_does_not_exist_inside(running, tmp_path):  # T1 and T4
    sbx = running
    outside = tmp_path / "outside"
    outside.write_text("x")
    write(sbx, ".")
    sbx("up", "-y")
    (sbx.home / ".ssh").mkdir()
    (sbx.home / ".aws").mkdir()
    for path in (sbx.home, sbx.home / ".ssh", sbx.home / ".aws", outside, sbx.state, sbx.root / "run"):
        assert path.exists() or path == sbx.state
        assert sbx("exec", "-u", "root", "box", "ls", str(path), any_code=True).code != 0
    (sbx.project / "from-host").write_text("1")
    assert sbx("exec", "box", "cat", "from-host").stdout == "1"
    (sbx.project / "from-host").write_text("22")
    assert sbx("exec", "box", "cat", "from-host").stdout == "22"
    sbx("exec", "box", "sh", "-c", "mkdir -p d && echo in > d/from-guest")
    made = sbx.project / "d/from-guest"
    assert made.read_text() == "in\n"
    assert made.stat().st_uid == os.getuid()


def test_a_repository_is_clean_inside_and_its_files_keep_their_owner(running):
    sbx = running
    repository = sbx.project / "repo"
    repository.mkdir()
    for number in range(2000):
        path = repository / f"d{number % 40}" / f"file{number}"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{number}\n")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", "-C", str(repository)]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*git, *command], check=True)
    write(sbx, str(repository))
    sbx("up", "-y")
    assert sbx("exec", "box", "git", "status", "--porcelain").stdout == ""
    commit = "echo more > new && git add new && git -c user.name=a -c user.email=a@example.com commit -qm new"
    sbx("exec", "box", "sh", "-c", commit)
    assert sbx("exec", "box", "git", "status", "--porcelain").stdout == ""
    assert subprocess.run([*git, "status", "--porcelain"], capture_output=True, check=True).stdout == b""
    owners = {path.lstat().st_uid for path in repository.rglob("*")}
    assert owners == {os.getuid()}


def test_the_sandbox_file_and_git_hooks_are_read_only_inside(sbx):
    subprocess.run(["git", "init", "-q", str(sbx.project)], check=True)
    (sbx.project / "values.env").write_text("A=1\n")
    sbx.write(f"name: own\nsandboxes:\n  box:\n    {BOX}\n    workspaces: [.]\n    env_file: values.env\n")
    original = sbx.file.read_text()
    sbx("up", "-y")
    attacks = """
    echo x >> sandbox.yaml; rm -f sandbox.yaml; mv sandbox.yaml other
    ln -sf /etc/passwd sandbox.yaml; cp /dev/null sandbox.yaml
    echo x >> values.env; mv values.env v
    rm -rf .git/hooks; mv .git/hooks h; mv .git g; echo x > .git/hooks/pre-commit; echo x >> .git/config
    true
    """
    for user in ("agent", "root"):
        sbx("exec", "-u", user, "box", "sh", "-c", attacks)
        assert sbx.file.read_text() == original
        assert (sbx.project / "values.env").read_text() == "A=1\n"
        assert not (sbx.project / ".git/hooks/pre-commit").exists()
        assert "x\n" not in (sbx.project / ".git/config").read_text()
        assert (sbx.project / ".git/hooks").is_dir()
    replacement = sbx.project / "sandbox.new"  # editors save by rename: the new file is protected as well, soon
    replacement.write_text(original + "# edited\n")
    replacement.rename(sbx.file)
    attack = "echo '# by the agent' >> sandbox.yaml"
    sbx.wait_for(lambda: sbx("exec", "box", "sh", "-c", attack, any_code=True).code != 0)
    sbx("down", "-y")


def test_no_setuid_file_can_be_left_on_the_host(running):
    sbx = running
    write(sbx, ".")
    sbx("up", "-y")
    for user in ("agent", "root"):
        attempts = f"cp /bin/true {user}; chmod u+s {user}; chmod 4755 {user}; chmod g+s {user}; true"
        sbx("exec", "-u", user, "box", "sh", "-c", attempts)
        assert (sbx.project / user).stat().st_mode & 0o6000 == 0
    sbx("exec", "-u", "root", "box", "mknod", "node", "b", "8", "0", any_code=True)
    assert not (sbx.project / "node").exists()
    status = json.loads(sbx("status", "box", "--format", "json").stdout)
    assert status["status"] == "running"
