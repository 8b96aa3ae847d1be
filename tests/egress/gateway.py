"""The real gateway as a process of its own, and sandboxes registered with it over its control socket; no machine.

What a supervisor does with listeners of a jail is done here with listeners on loopback.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sandboxfile.control.egress import (
    Accepted,
    Confirmed,
    Listen,
    Message,
    Provide,
    Register,
    SetPolicy,
    decode,
    encode,
)
from sandboxfile.host.layout import Layout
from sandboxfile.model.fingerprint import fingerprint
from sandboxfile.model.policy import Policy
from sandboxfile.supervisor.authority import authority

_REPOSITORY = Path(__file__).resolve().parent.parent.parent
_PATIENCE = 30.0  # seconds for an answer


class Registered:
    """One sandbox. `port` is that of its explicit proxy, `trusted` a file with its authority's certificate."""

    def __init__(self, path: Path, place: Path, name: str, policy: Policy, proxies: Sequence[tuple[str, str]]) -> None:
        self.name = name
        self.log = place / f"{name}.log"
        self.trusted = place / f"{name}.pem"
        made = authority(place / f"{name}-authority.pem", name)
        self.trusted.write_text(made.certificate)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_PATIENCE)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise
        self._stream = self._socket.makefile("rb")
        message = Register(f"tests/{name}", policy, made.certificate, made.key, str(self.log), tuple(proxies))
        assert self.ask(message) == Confirmed(fingerprint(policy))
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(128)
            listener.setblocking(False)
            self.port = int(listener.getsockname()[1])
            assert self.ask(Listen("proxy", 3128), listener.fileno()) == Accepted()

    def ask(self, message: Message, *descriptors: int) -> Message:
        """Say one message and give the answer to it."""
        line = encode(message)
        sent = socket.send_fds(self._socket, [line], list(descriptors))
        self._socket.sendall(line[sent:])
        return decode(self._stream.readline())

    def set_policy(self, policy: Policy) -> None:
        assert self.ask(SetPolicy(policy)) == Confirmed(fingerprint(policy))

    def provide(self, **values: str) -> None:
        assert self.ask(Provide(tuple(values.items()))) == Accepted()

    def records(self) -> list[dict[str, Any]]:
        """What its network log holds so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def close(self) -> None:
        self._stream.close()
        self._socket.close()


class Gateway:
    """`layout` is that of its user, in a short directory of its own."""

    def __init__(self, place: Path, stack: ExitStack) -> None:
        self._place = place
        self._stack = stack
        self._first = ExitStack()  # with a connection until somebody registers: without any it ends after a second
        self._environment = {
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": str(_REPOSITORY),
            "HOME": str(place),
            "XDG_STATE_HOME": str(place / "state"),
            "XDG_CACHE_HOME": str(place / "cache"),
            "XDG_RUNTIME_DIR": str(place / "run"),
        }
        self.layout = Layout.from_environment(self._environment, place, os.getuid())
        for directory in (self.layout.state, self.layout.runtime, self.layout.config):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def start(self) -> None:
        with self.layout.gateway_log.open("ab") as log:
            command = [sys.executable, "-P", "-m", "sandboxfile.gateway"]
            self._child = subprocess.Popen(
                command, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._stack.callback(self.stop)
        self._stack.callback(self._first.close)
        deadline = time.monotonic() + _PATIENCE
        while not self._listens():
            assert self._child.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.02)

    def _listens(self) -> bool:
        with ExitStack() as closing:
            probe = closing.enter_context(socket.socket(socket.AF_UNIX))
            if probe.connect_ex(str(self.layout.gateway_socket)) != 0:
                return False
            self._first.push(closing.pop_all())
            return True

    def register(self, name: str, policy: Policy, proxies: Sequence[tuple[str, str]] = ()) -> Registered:
        made = Registered(self.layout.gateway_socket, self._place, name, policy, proxies)
        self._stack.callback(made.close)
        self._first.close()
        return made

    @property
    def process(self) -> Path:
        """What the kernel shows of it."""
        return Path("/proc", str(self._child.pid))

    def said(self) -> str:
        """Its own log."""
        return self.layout.gateway_log.read_text()

    def kill(self) -> None:
        """SIGKILL."""
        self._child.kill()
        self._child.wait()

    def stop(self) -> None:
        self._child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(10)
            return
        self._child.kill()
        self._child.wait()


@contextmanager
def gateway(place: Path) -> Iterator[Gateway]:
    """A gateway, to be started, until the block ends."""
    with ExitStack() as stack:
        made = Gateway(place, stack)
        yield made
