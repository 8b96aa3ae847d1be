"""The real process: its lock, its life, and that a sandbox finds the same policy again after a SIGKILL."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sandboxfile.control.egress import Accepted, Confirmed, Listen, Message, Register, decode, encode
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import ensure_directories, is_locked
from sandboxfile.model.policy import Policy, Rule

TIMEOUT = 60.0


class Host:
    """Gateways of one home; sockets are used as a supervisor uses them."""

    def __init__(self, root: Path) -> None:
        self.environment = {**os.environ, "SBX_HOME": str(root / "h"), "XDG_CONFIG_HOME": str(root / "config")}
        self.layout = Layout.from_environment(self.environment, root, os.getuid())
        ensure_directories(self.layout)
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        with self.layout.gateway_log.open("ab") as log:
            arguments = [sys.executable, "-P", "-m", "sandboxfile.gateway"]
            child = subprocess.Popen(arguments, env=self.environment, stdin=subprocess.DEVNULL, stderr=log)
        self.started.append(child)
        return child

    def connect(self) -> socket.socket:
        deadline = time.monotonic() + TIMEOUT
        while True:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(TIMEOUT)
            try:
                sock.connect(str(self.layout.gateway_socket))
                return sock
            except OSError:
                sock.close()
                assert time.monotonic() < deadline, self.layout.gateway_log.read_text()
                time.sleep(0.02)


@pytest.fixture
def host(clean_home: Path) -> Iterator[Host]:
    found = Host(clean_home)
    yield found
    for child in found.started:
        child.kill()
        child.wait()


def ask(sock: socket.socket, message: Message, *descriptors: int) -> Message:
    socket.send_fds(sock, [encode(message)], list(descriptors))
    with sock.makefile("rb") as stream:
        return decode(stream.readline())


def through(address: tuple[str, int], target: str) -> bytes:
    """The first bytes of a tunnel, or of what is said instead."""
    with socket.create_connection(address, TIMEOUT) as sock:
        sock.sendall(f"CONNECT {target} HTTP/1.1\r\n\r\n".encode())
        return sock.recv(4096)


def serve(host: Host, policy: Policy, listener: socket.socket) -> socket.socket:
    certificate, key = authority()
    sock = host.connect()
    log = str(host.layout.state / "network.log")
    assert isinstance(ask(sock, Register("shop/web", policy, certificate, key, log)), Confirmed)
    assert ask(sock, Listen("proxy", 3128), listener.fileno()) == Accepted()
    return sock


def authority() -> tuple[str, str]:
    """A certificate authority, as a supervisor would hand one over."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sandboxfile web")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    text = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain)
    return certificate.public_bytes(encoding).decode(), text.decode()


@pytest.fixture
def server() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_a_second_gateway_is_told_that_there_is_one(host: Host) -> None:
    host.start()
    needed = host.connect()
    assert host.start().wait(TIMEOUT) == 75
    needed.close()


def test_it_ends_a_while_after_the_last_sandbox_left_and_leaves_nothing(host: Host) -> None:
    child = host.start()
    first, second = host.connect(), host.connect()
    first.close()
    second.close()
    assert child.wait(TIMEOUT) == 0
    assert not host.layout.gateway_socket.exists()
    assert not is_locked(host.layout.gateway_lock)


def test_it_ends_at_once_when_it_is_told_to(host: Host) -> None:
    child = host.start()
    with host.connect():
        child.send_signal(signal.SIGTERM)
        assert child.wait(TIMEOUT) == 0


def test_without_a_state_directory_or_with_arguments_it_does_not_start(host: Host, tmp_path: Path) -> None:
    host.environment["SBX_HOME"] = str(tmp_path / "nowhere")
    assert host.start().wait(TIMEOUT) == 1
    arguments = [sys.executable, "-P", "-m", "sandboxfile.gateway", "x"]
    assert subprocess.run(arguments, check=False, capture_output=True).returncode == 2


def test_its_socket_is_its_owners_alone(host: Host) -> None:
    host.start()
    host.connect().close()
    assert host.layout.gateway_socket.stat().st_mode & 0o777 == 0o600


def test_a_killed_gateway_closes_everything_and_the_next_one_goes_by_the_same_policy(
    host: Host, server: int, make_policy: Callable[..., Policy]
) -> None:
    host.layout.config.mkdir(parents=True)
    host.layout.resolver_overrides.touch(0o600)
    host.layout.resolver_overrides.write_text(f'{{"resolve": {{"db.example.com": "127.0.0.1:{server}"}}}}')
    policy = make_policy(Rule("db.example.com:5432", protocol="tcp"))
    with socket.create_server(("127.0.0.1", 0)) as listener:  # it stays the supervisor's
        address: Any = listener.getsockname()
        for _ in range(2):
            child = host.start()
            with serve(host, policy, listener) as sock, socket.create_connection(address, TIMEOUT) as open_one:
                open_one.sendall(b"CONNECT db.example.com:5432 HTTP/1.1\r\n\r\n")
                assert open_one.recv(4096).startswith(b"HTTP/1.1 200 ")
                assert through(address, "mail.example.com:25").startswith(b"HTTP/1.1 403 ")
                child.kill()
                child.wait()
                assert open_one.recv(1) == b""
                assert sock.recv(1) == b""
                with socket.create_connection(address) as waiting:  # in the kernel's queue, served by nobody
                    waiting.settimeout(0.2)
                    waiting.sendall(b"CONNECT db.example.com:5432 HTTP/1.1\r\n\r\n")
                    with pytest.raises(TimeoutError):
                        waiting.recv(1)


def test_a_request_that_must_be_looked_into_waits_for_the_interceptor_and_is_answered(
    host: Host, make_policy: Callable[..., Policy]
) -> None:
    host.start()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address: Any = listener.getsockname()
        with serve(host, make_policy(), listener), socket.create_connection(address, TIMEOUT) as sock:
            sock.sendall(b"GET http://denied.example.com/ HTTP/1.1\r\nHost: denied.example.com\r\n\r\n")
            assert sock.recv(4096).startswith(b"HTTP/1.1 403 ")
