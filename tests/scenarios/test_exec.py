"""`sbx exec`: a real terminal, exact bytes, many at once, nothing left behind."""

import concurrent.futures
import hashlib
import os
import signal
import time

import pexpect
import pytest

pytestmark = pytest.mark.vm


@pytest.fixture(scope="module")
def box(module_sbx):
    sbx = module_sbx
    sbx.write("name: execs\nsandboxes:\n  box: {workspaces: [.], resources: {cpus: 2, memory: 512MiB, disk: 4GiB}}\n")
    sbx("up", "-y")
    yield sbx
    sbx("down", "-y")


def test_a_terminal_is_a_terminal(box):
    child = pexpect.spawn(
        box.argv[0],
        [*box.argv[1:], "exec", "-it", "box", "bash", "--norc"],
        env=box.environment,
        cwd=str(box.project),
        dimensions=(31, 97),
        timeout=30,
        encoding="utf-8",
    )
    child.expect(r"[$#] ")
    child.sendline("stty size; tty")
    child.expect("31 97")
    child.expect("/dev/pts/")
    child.setwinsize(40, 120)
    box.wait_for(lambda: child.sendline("stty size") and child.expect(["40 120", pexpect.TIMEOUT], timeout=3) == 0)
    child.sendline("sleep 1000")
    time.sleep(1)
    child.sendcontrol("c")
    child.sendline("echo after-$?")
    child.expect("after-130")
    child.sendline("exit 7")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 7


def test_exit_codes_are_the_commands_own(box):
    for code in (0, 1, 3, 255):
        box("exec", "box", "sh", "-c", f"exit {code}", code=code)
    box("exec", "box", "no-such-command", code=127)
    box("exec", "box", "/etc/passwd", code=126)
    box("exec", "box", "sh", "-c", "kill -TERM $$", code=143)
    box("exec", "-w", "/no/such/directory", "box", "true", any_code=True, code=1)
    assert box("exec", "-e", "A=x y'z", "-e", "PATH=/usr/bin:/bin", "box", "sh", "-c", "echo $A $PATH").stdout == (
        "x y'z /usr/bin:/bin\n"
    )
    assert box("exec", "-e", "HOME=/opt", "-e", "USER=me", "box", "sh", "-c", "echo $HOME $USER").stdout == "/opt me\n"
    assert box("exec", "box", "printf", "%s|", "a b", "", "$HOME", "'\"\\").stdout == "a b||$HOME|'\"\\|"
    streams = box("exec", "box", "sh", "-c", "echo out; echo err >&2")
    assert (streams.stdout, streams.stderr) == ("out\n", "err\n")


def test_twenty_at_once(box):
    def run(number):
        return box("exec", "box", "sh", "-c", f"echo {number}; sleep 1; exit {number}", code=number)

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        results = list(pool.map(run, range(20)))
    assert [result.stdout for result in results] == [f"{n}\n" for n in range(20)]


def test_fifty_megabytes_each_way_are_intact(box):
    data = os.urandom(1 << 20) * 50
    result = box("exec", "-i", "box", "sha256sum", input=data, binary=True)
    assert result.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()
    echoed = box("exec", "-i", "box", "cat", input=data, binary=True)
    assert hashlib.sha256(echoed.stdout).digest() == hashlib.sha256(data).digest()


def test_a_detached_command_goes_on_and_a_killed_client_leaves_nothing(box):
    box("exec", "-d", "box", "sh", "-c", "sleep 1; echo done > detached")
    box.wait_for(lambda: (box.project / "detached").exists())
    for number, ending in enumerate((signal.SIGKILL, signal.SIGTERM)):
        seconds = 4000 + number
        client = box.popen("exec", "box", "sh", "-c", f"sleep {seconds} & sleep {seconds}; true")
        box.wait_for(lambda: box("exec", "box", "pgrep", "-f", f"sleep {seconds}", any_code=True).code == 0)  # noqa: B023
        os.kill(client.pid, ending)
        client.wait(10)
        box.wait_for(lambda: box("exec", "box", "pgrep", "-x", "sleep", any_code=True).code == 1)
