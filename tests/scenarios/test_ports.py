"""A service as the main process, its port on this host: bytes both ways, many at once, live changes, crashes."""

import concurrent.futures
import contextlib
import hashlib
import http.client
import json
import os
import random
import shutil
import signal
import socket
import urllib.error
import urllib.request
from pathlib import Path

import anyio
import pexpect
import pytest

from sandboxfile.control.client import request
from sandboxfile.control.messages import AttachAgent, SetPorts, Started
from sandboxfile.errors import HostError
from sandboxfile.host.layout import Layout
from sandboxfile.model.desired import Port
from sandboxfile.names import SandboxId

pytestmark = pytest.mark.vm
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "service"
MEGABYTES = 10
# A service of our own inside: answers the digest of what it reads until the end, and as many random bytes back.
DIGESTS = """\
import hashlib, os, socketserver

class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        read = hashlib.sha256()
        while data := self.rfile.read1(65536):
            read.update(data)
        back = os.urandom(1 << 20)
        sent = hashlib.sha256(back * COUNT)
        self.wfile.write(read.hexdigest().encode() + sent.hexdigest().encode())
        for _ in range(COUNT):
            self.wfile.write(back)

class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address, daemon_threads, request_queue_size = True, True, 64

COUNT = int(__import__("sys").argv[2])
Server(("127.0.0.1", int(__import__("sys").argv[1])), Handler).serve_forever()
"""


def free_port():
    """One that nobody has, and that the kernel gives to nobody's connection while the tests run."""
    while True:
        number = random.randrange(20000, 32000)
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", number))
            return number


@pytest.fixture(scope="module")
def numbers():
    """Ports of this host: `service`, `digests` and `small` of the file, `spare` for what is changed live."""
    return {name: free_port() for name in ("service", "digests", "small", "spare")}


@pytest.fixture(scope="module")
def box(module_sbx, numbers):
    """The example, with more ports; it runs as long as the module."""
    sbx = module_sbx
    shutil.copyfile(EXAMPLE / "server.py", sbx.project / "server.py")
    (sbx.project / "digests.py").write_text(DIGESTS)
    write(sbx, numbers)
    sbx("up", "-y")
    sbx.wait_for(lambda: sessions(numbers["service"]) == {})
    yield sbx
    sbx("down", "-y")


def write(sbx, numbers, more=()):
    text = (EXAMPLE / "sandbox.yaml").read_text()
    ports = [
        f"{numbers['service']}:8765",
        f"{numbers['digests']}:9000",
        f"{numbers['small']}:9001",
        *more,
    ]
    assert '["8765:8765"]' in text
    sbx.write(text.replace('["8765:8765"]', json.dumps(ports)))


def sessions(port):
    """What the service says over its port; None while it is not there."""
    body = fetched(f"http://127.0.0.1:{port}/sessions")
    return None if body is None else json.loads(body)


def fetched(url):
    """The body of an answer; None while there is none."""
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.read()
    except (OSError, urllib.error.URLError, http.client.HTTPException):
        return None


def is_open(port):
    with socket.socket() as sock:
        sock.settimeout(10)
        return sock.connect_ex(("127.0.0.1", port)) == 0


def run_inside(box, session, command, **options):
    return box("exec", "-e", f"SESSION={session}", "service", "python3", "server.py", "run", command, **options)


def exchange(port, data):
    """Send all, close our half, and give the digests that the service made, and of what came back."""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        received = bytearray()
        while piece := connection.recv(1 << 16):
            received += piece
    return received[:64].decode(), received[64:128].decode(), bytes(received[128:])


def control(box):
    return (
        Layout(box.state, box.cache, box.root / "run" / "sandboxfile").sandbox(SandboxId("service", "service")).control
    )


def set_ports(box, *ports):
    anyio.run(request, control(box), SetPorts(tuple(sorted(ports))))


def test_sessions_survive_between_commands_and_are_seen_through_the_port(box, numbers):
    run_inside(box, "one", "cd /tmp; greeting=hello")
    assert run_inside(box, "one", "echo $greeting from $PWD").stdout == "hello from /tmp\n"
    run_inside(box, "two", "exit 7", code=7)
    box("exec", "-d", "-e", "SESSION=three", "service", "python3", "server.py", "run", "sleep 1; echo done > done")
    box.wait_for(lambda: (box.project / "done").exists() and (box.project / "done").read_text() == "done\n")
    box.wait_for(lambda: sessions(numbers["service"]) == {"one": 2, "two": 1, "three": 1})
    assert "listening on port 8765" in box("logs", "--main", "service").stdout


def test_ten_megabytes_each_way_are_whole_after_half_a_close(box, numbers):
    box("exec", "-d", "service", "python3", "digests.py", "9000", str(MEGABYTES))
    box.wait_for(lambda: responds(numbers["digests"]))
    data = os.urandom(1 << 20) * MEGABYTES
    read, sent, back = exchange(numbers["digests"], data)
    assert read == hashlib.sha256(data).hexdigest()
    assert len(back) == MEGABYTES << 20
    assert sent == hashlib.sha256(back).hexdigest()


def test_fifty_connections_at_once_get_each_their_own_answer(box, numbers):
    box("exec", "-d", "service", "python3", "digests.py", "9001", "0")
    box.wait_for(lambda: responds(numbers["small"]))
    data = [os.urandom(1 << 16) for _ in range(50)]
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        results = list(pool.map(lambda one: exchange(numbers["small"], one)[0], data))
    assert results == [hashlib.sha256(one).hexdigest() for one in data]


def responds(port):
    try:
        return exchange(port, b"")[0]
    except OSError:
        return False


def test_it_is_started_again_after_a_failure_and_its_port_works_again(box, numbers):
    run_inside(box, "lost", "true")
    box("exec", "service", "pkill", "-KILL", "-f", "server.py serve")
    box.wait_for(lambda: sessions(numbers["service"]) == {})
    status = json.loads(box("status", "service", "--format", "json").stdout)
    assert "restarts" in json.dumps(status)


def test_ports_change_while_it_runs_and_a_taken_one_changes_nothing(box, numbers):
    kept = socket.create_connection(("127.0.0.1", numbers["service"]), timeout=20)
    both = (Port(numbers["service"], 8765), Port(numbers["spare"], 8765))
    set_ports(box, *both)
    assert sessions(numbers["spare"]) == sessions(numbers["service"]) == {}
    assert not is_open(numbers["small"])
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(HostError, match=f"port 127.0.0.1:{taken} of this host is in use"):
            set_ports(box, Port(taken, 8765), Port(numbers["small"], 9001))
    assert not is_open(numbers["small"])
    assert sessions(numbers["spare"]) == {}
    kept.sendall(b"GET /sessions HTTP/1.0\r\n\r\n")  # a connection of one that stayed is not disturbed
    assert b"200 OK" in kept.recv(4096)
    kept.close()


def test_an_edit_of_the_file_changes_ports_live(box, numbers):
    write(box, numbers, [f"{numbers['spare']}:8765"])
    plan = box("plan").stdout
    assert "restart" not in plan.lower().replace("restart: on-failure", "")
    box("up", "-y")
    assert sessions(numbers["spare"]) == sessions(numbers["service"]) == {}
    assert "no changes" in "".join(vars(box("up", "-y"))[stream] for stream in ("stdout", "stderr")).lower()
    write(box, numbers)
    box("up", "-y")
    assert not is_open(numbers["spare"])


def test_a_forward_lasts_as_long_as_its_command(box, numbers):
    client = box.popen("forward", "service", f"{numbers['spare']}:8765")
    assert client.stdout.readline() == f"127.0.0.1:{numbers['spare']} -> service:8765\n"
    assert sessions(numbers["spare"]) == {}
    refused = box("forward", "service", f"{numbers['spare']}:8765", code=1)
    assert f"port 127.0.0.1:{numbers['spare']} of this host is in use" in refused.stderr
    client.send_signal(signal.SIGINT)
    assert client.wait(20) == 130
    box.wait_for(lambda: not is_open(numbers["spare"]))


def test_what_reaches_no_service_is_reset(box, numbers):
    client = box.popen("forward", "service", f"{numbers['spare']}:4")
    assert client.stdout.readline()
    connection = socket.create_connection(("127.0.0.1", numbers["spare"]), timeout=20)
    with connection, pytest.raises(ConnectionResetError):
        connection.recv(1)
    client.send_signal(signal.SIGINT)
    client.wait(20)


@pytest.mark.parametrize("address", ["::1", "10.0.2.15"])
def test_a_service_on_another_address_inside_is_reached(box, numbers, address):
    serve = ("python3", "-m", "http.server", "--bind", address, "--directory", "/etc", "9100")
    box("exec", "-d", "service", *serve)
    client = box.popen("forward", "service", f"{numbers['spare']}:9100")
    assert client.stdout.readline()
    box.wait_for(lambda: fetched(f"http://127.0.0.1:{numbers['spare']}/hostname") == b"service\n")
    client.send_signal(signal.SIGINT)
    client.wait(20)
    box("exec", "service", "pkill", "-f", "http.server")


def test_a_login_comes_back_to_the_agent_while_somebody_is_at_its_terminal(box, numbers):
    login = numbers["spare"]
    redirect = f"http%3A%2F%2Flocalhost%3A{login}%2Fauth%2Fcallback"
    url = f"https://login.example.com/authorize?client_id=x&redirect_uri={redirect}&state=y"
    assert anyio.run(request, control(box), AttachAgent(detach=True)) == Started()
    agent = pexpect.spawn(
        box.argv[0],
        [*box.argv[1:], "attach", "service"],
        env=box.environment,
        cwd=str(box.project),
        dimensions=(24, 60),  # too narrow for the URL
        timeout=30,
        encoding="utf-8",
    )
    agent.expect(r"\$ ")
    agent.sendline(f"echo '{url.replace('%', '%%')}' >url; python3 -m http.server --bind 127.0.0.1 {login} &")
    assert not is_open(login)
    agent.sendline('printf "$(fold -w 58 url)\\n"')
    box.wait_for(
        lambda: fetched(f"http://127.0.0.1:{login}/server.py?code=secret") == (EXAMPLE / "server.py").read_bytes()
    )
    agent.send("\x10\x11")
    agent.expect(f"port 127.0.0.1:{login} of this host leads to the sandbox, for a login")
    agent.expect(pexpect.EOF)
    agent.close()
    box.wait_for(lambda: not is_open(login))
    box("exec", "service", "pkill", "-f", "http.server")


def test_a_killed_supervisor_leaves_no_port_and_up_brings_it_back(box, numbers):
    (supervisor,) = box.processes("supervisor")
    os.kill(supervisor, signal.SIGKILL)
    box.wait_for(lambda: not is_open(numbers["service"]))
    box.wait_for(lambda: not box.processes("qemu"))
    with socket.create_server(("127.0.0.1", numbers["service"])):
        refused = box("up", "-y", code=1)
    assert f"port 127.0.0.1:{numbers['service']} of this host is in use" in refused.stdout + refused.stderr
    assert not box.processes("qemu")
    box("up", "-y")
    box.wait_for(lambda: sessions(numbers["service"]) == {})
