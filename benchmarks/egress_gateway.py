"""Our gateway for the egress benchmark: the real process, spoken to over its real control socket.

What a supervisor does with listeners of a jail is done here with listeners on loopback.
"""

import json
import os
import socket
import sys
from contextlib import ExitStack
from pathlib import Path

from egress_servers import Origin, Process

from sandboxfile.control.egress import (
    Accepted,
    Confirmed,
    Listen,
    Message,
    Refused,
    Register,
    SetPolicy,
    decode,
    encode,
)
from sandboxfile.host.layout import Layout
from sandboxfile.model.credential import Credential, Injection, SecretSource
from sandboxfile.model.policy import Layer, Policy, Rule
from sandboxfile.supervisor.authority import authority

_REPOSITORY = Path(__file__).resolve().parent.parent
_PATIENCE = 60.0  # seconds for an answer


def policy(origin: Origin, *, bypass: bool = False, key: Path | None = None) -> Policy:
    """Allows the origin and nothing else. `bypass`: its TLS goes through untouched; `key`: a file with a credential."""
    tls, plain = Rule(f"localhost:{origin.tls}"), Rule(f"localhost:{origin.plain}")
    layer = Layer("policy bench", allow=(tls, plain), bypass=(tls,) if bypass else ())
    if key is None:
        return Policy((layer,))
    injection = Injection("localhost", origin.tls, name="Authorization", value="Bearer {secret}")
    return Policy((layer,), credentials=(Credential("key", SecretSource("file", str(key)), (injection,), known=True),))


class Registration:
    """One sandbox as the gateway sees it. `port` is that of its explicit proxy."""

    def __init__(self, path: Path, place: Path, name: str, policy: Policy) -> None:
        self.authority = place / f"{name}.pem"
        made = authority(self.authority, name)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_PATIENCE)
        self._socket.connect(str(path))
        self._stream = self._socket.makefile("rb")
        log = str(place / f"{name}.log")
        self.ask(Register(f"bench/{name}", policy, made.certificate, made.key, log), Confirmed)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1024)
            listener.setblocking(False)
            self.port = int(listener.getsockname()[1])
            self.ask(Listen("proxy", 3128), Accepted, listener.fileno())

    def ask(self, message: Message, wanted: type[Message], *descriptors: int) -> None:
        self.say(message, *descriptors)
        self.hear(wanted)

    def say(self, message: Message, *descriptors: int) -> None:
        line = encode(message)
        sent = socket.send_fds(self._socket, [line], list(descriptors))
        self._socket.sendall(line[sent:])

    def hear(self, wanted: type[Message]) -> None:
        answer = decode(self._stream.readline())
        if isinstance(answer, Refused) or not isinstance(answer, wanted):
            raise SystemExit(f"the gateway answered {answer}")

    def set_policy(self, policy: Policy) -> None:
        self.ask(SetPolicy(policy), Confirmed)

    def close(self) -> None:
        self._stream.close()
        self._socket.close()


class Gateway:
    """A gateway with a home of its own; the operator's override there leads `localhost` to where the origin listens."""

    def __init__(self, stack: ExitStack, place: Path, origin: Origin) -> None:
        place.mkdir()
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": str(_REPOSITORY),
            "HOME": str(place),
            "XDG_STATE_HOME": str(place / "state"),
            "XDG_CACHE_HOME": str(place / "cache"),
            "XDG_RUNTIME_DIR": str(place / "run"),
        }
        layout = Layout.from_environment(environment, place, os.getuid())
        for directory in (layout.state, layout.cache, layout.runtime, layout.config):
            directory.mkdir(mode=0o700, parents=True)
        leads = {f"localhost:{port}": f"127.0.0.1:{port}" for port in (origin.tls, origin.plain)}
        layout.resolver_overrides.touch(0o600)
        layout.resolver_overrides.write_text(json.dumps({"resolve": leads, "authorities": str(origin.certificate)}))
        self._stack = stack
        self._place = place
        self._path = layout.gateway_socket
        self.process = Process([sys.executable, "-P", "-m", "sandboxfile.gateway"], place / "gateway.log", environment)
        stack.callback(self.process.stop)
        self.process.wait_for(self._answers)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self._path)) == 0

    def register(self, name: str, policy: Policy) -> Registration:
        registration = Registration(self._path, self._place, name, policy)
        self._stack.callback(registration.close)
        return registration
