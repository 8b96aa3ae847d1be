"""Listeners that nobody may ever reach: host services, neighbours, metadata addresses. They record any contact.

A trap that hears nothing proves something only if it would have heard: `assert_untouched` knocks itself afterwards.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from typing import Any

_FIRST = 4096
_CONTACTS = 1000
_KNOCK = b"knock of the test itself"
_VSOCK_LOCAL = 1  # VMADDR_CID_LOCAL
_PATIENCE = 10.0  # seconds for our own knock to be heard


@dataclass(frozen=True)
class Contact:
    """`peer` is the other side's address as the kernel tells it; `said` what it sent at once, or in its datagram."""

    peer: str
    said: bytes


class Trap:
    """One listening socket. `address` is what it is bound to, as Python's socket module writes it."""

    def __init__(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        if listener.type == socket.SOCK_STREAM:
            listener.listen(64)
        self._listener = listener
        self._heard = threading.Condition()
        self._contacts: list[Contact] = []
        self.address = listener.getsockname()

    @property
    def port(self) -> int:
        return int(self.address[1])

    @property
    def contacts(self) -> list[Contact]:
        with self._heard:
            return list(self._contacts)

    def assert_untouched(self) -> None:
        """Nobody came; and one who comes now is noticed."""
        assert not self.contacts, f"{self.address} was reached: {self.contacts}"
        self._knock()
        with self._heard:
            assert self._heard.wait_for(lambda: self._contacts, _PATIENCE), f"{self.address} hears nobody"
            self._contacts.clear()

    def forget(self) -> None:
        """What came so far was expected."""
        with self._heard:
            self._contacts.clear()

    def _knock(self) -> None:
        with socket.socket(self._listener.family, self._listener.type) as client:
            client.settimeout(_PATIENCE)
            client.connect(self._own_address())
            client.send(_KNOCK)

    def _own_address(self) -> Any:
        if self._listener.family == socket.AF_VSOCK:
            return (_VSOCK_LOCAL, self.port)
        return self.address

    def hear(self) -> None:
        """Called by the thread when something is there."""
        try:
            if self._listener.type == socket.SOCK_DGRAM:
                said, peer = self._listener.recvfrom(_FIRST)
            else:
                client, peer = self._listener.accept()
                with client:
                    said = _first_words(client)
        except OSError:  # gone again: it was here all the same
            said, peer = b"", "unknown"
        with self._heard:
            if len(self._contacts) < _CONTACTS:
                self._contacts.append(Contact(str(peer), said))
            self._heard.notify_all()

    def close(self) -> None:
        self._listener.close()


def _first_words(client: socket.socket) -> bytes:
    client.settimeout(0.2)
    try:
        return client.recv(_FIRST)
    except OSError:
        return b""


class Traps:
    """Traps of one test, all watched by one thread."""

    def __init__(self) -> None:
        self._selector = DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, EVENT_READ)
        self._lock = threading.Lock()
        self.all: list[Trap] = []
        self._ended = False
        self._thread = threading.Thread(target=self._watch, name="traps")
        self._thread.start()

    def tcp(self, host: str = "127.0.0.1", port: int = 0) -> Trap:
        return self._set(_bound(host, port, socket.SOCK_STREAM))

    def udp(self, host: str = "127.0.0.1", port: int = 0) -> Trap:
        return self._set(_bound(host, port, socket.SOCK_DGRAM))

    def unix(self, path: Path) -> Trap:
        """A socket that everyone may connect to."""
        trap = self._set(_bound_unix(str(path)))
        path.chmod(0o777)
        return trap

    def abstract(self, name: str) -> Trap:
        return self._set(_bound_unix(f"\0{name}"))

    def vsock(self) -> Trap | None:
        """On every context id, at any port; None where this kernel has no loopback for it to knock by."""
        listener = _bound_vsock()
        return None if listener is None else self._set(listener)

    def assert_untouched(self) -> None:
        for trap in self.all:
            trap.assert_untouched()

    def close(self) -> None:
        self._ended = True
        self._wake.send(b"x")
        self._thread.join(10)
        self._selector.close()
        for sock in (self._wake, self._woken):
            sock.close()
        for trap in self.all:
            trap.close()

    def _set(self, listener: socket.socket) -> Trap:
        trap = Trap(listener)
        with self._lock:
            self.all.append(trap)
            self._selector.register(listener, EVENT_READ, trap.hear)
        self._wake.send(b"x")
        return trap

    def _watch(self) -> None:
        while not self._ended:
            for key, _ in self._selector.select():
                hear: Callable[[], None] | None = key.data
                if hear is None:
                    self._woken.recv(64)
                else:
                    hear()


def _bound(host: str, port: int, kind: socket.SocketKind) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


def _bound_unix(name: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(name)
    except OSError:
        listener.close()
        raise
    return listener


def _bound_vsock() -> socket.socket | None:
    try:
        listener = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    except OSError:
        return None
    try:
        listener.bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY))
        listener.listen(1)
        with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as probe:
            probe.settimeout(1)
            probe.connect((_VSOCK_LOCAL, listener.getsockname()[1]))
        listener.accept()[0].close()
    except OSError:
        listener.close()
        return None
    return listener


def addresses() -> list[str]:
    """IPv4 addresses of this host that are not loopback, for traps on its network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: asks the routing table
        except OSError:
            return []
        found = probe.getsockname()[0]
    return [] if found.startswith("127.") else [found]


@contextmanager
def traps() -> Iterator[Traps]:
    made = Traps()
    try:
        yield made
    finally:
        made.close()
