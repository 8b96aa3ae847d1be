"""A running sandbox's way out: one registration with the gateway, kept alive for as long as the sandbox runs.

The gateway is a process of the user's that serves all sandboxes; whoever finds none starts one. When the connection to
it ends (it was killed), the listening sockets stay here, nobody accepts, and nothing gets out until the sandbox is
registered anew, with the same policy. This side lets nothing out by itself, whatever fails.
"""

import socket
from collections.abc import Collection, Mapping
from functools import partial
from typing import NoReturn, Protocol

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from sandboxfile.control.client import open_wire
from sandboxfile.control.egress import (
    PROXY_PORT,
    Accepted,
    Confirmed,
    Listen,
    Message,
    Provide,
    Refused,
    Register,
    SetPolicy,
)
from sandboxfile.errors import ControlError, HostError, SandboxfileError
from sandboxfile.host.detached import TAKEN
from sandboxfile.host.layout import Layout
from sandboxfile.host.saying import say
from sandboxfile.host.spawn import PROXIES, ended, spawn_detached, tail
from sandboxfile.host.statedir import is_locked
from sandboxfile.host.tasks import beside
from sandboxfile.model.credential import still_meant
from sandboxfile.model.fingerprint import fingerprint
from sandboxfile.model.policy import Policy
from sandboxfile.names import SandboxId
from sandboxfile.policy.compiled import compile_policy
from sandboxfile.secrets.tags import tag
from sandboxfile.supervisor.authority import Authority, authority
from sandboxfile.supervisor.link import Key, Link

_MODULE = "sandboxfile.gateway"
_LISTEN_TIMEOUT = 60.0  # seconds for a gateway to listen; 1 is usual, and many at once on a small host take long
_AWAY = 20.0  # how long a change waits for a gateway that is being restarted
_POLL = 0.03
_SHORTEST, _LONGEST = 0.1, 5.0  # pauses before it is tried again
_LONG_ENOUGH = 10.0  # a registration that lasted so long counts as having worked


class Network(Protocol):
    """The listening sockets in a sandbox's own network, whose other side is the guest."""

    @property
    def sockets(self) -> Mapping[Key, socket.socket]: ...

    async def listen(self, port: int) -> socket.socket:
        """One more for connections to this port of any address. Raises MachineError."""


class Egress:
    """`policy` is what the sandbox is held to; `confirmed` its fingerprint while the gateway goes by it, else empty.

    `prepare` gives `authority` and, of the policy that the sandbox starts with, `ports`.
    """

    def __init__(self, layout: Layout, id: SandboxId, policy: Policy, environ: Mapping[str, str]) -> None:
        self.policy = policy
        self.confirmed = ""
        self._layout = layout
        self._id = id
        self._environ = environ
        self.authority: Authority
        self.ports: frozenset[int] = frozenset()
        self._values: dict[str, str] = {}  # of credentials, by name; here for as long as this process lives
        self._network: Network
        self._served = anyio.Event()
        self._link: Link | None = None
        self._linked = anyio.Event()  # replaced when the link is lost
        self._turn = anyio.Lock()  # one registration or change at a time
        self._decided = anyio.Event()  # registered for the first time, or it never will be
        self._trouble: SandboxfileError | None = None
        self._exits: dict[int, int] = {}

    # --- its life ------------------------------------------------------------------------------------------------

    async def keep(self) -> NoReturn:
        """Register, and register anew whenever the gateway is lost. A gateway is looked for before there is a network,
        because loading one takes about as long as a kernel to boot.
        """
        pause = _SHORTEST
        async with beside() as group:
            while True:
                began = anyio.current_time()
                try:
                    await self._start_gateway(group)
                    await self._served.wait()
                    await self._stay_registered()
                    say("the gateway is gone: nothing gets out until it is back")
                except SandboxfileError as exc:
                    self._regret(exc)
                pause = _SHORTEST if anyio.current_time() - began > _LONG_ENOUGH else min(pause * 2, _LONGEST)
                await anyio.sleep(pause)

    async def prepare(self) -> None:
        """Have what a machine needs at its start. Raises PolicyError, HostError."""
        paths = self._layout.sandbox(self._id)
        self.ports = (await to_thread.run_sync(compile_policy, self.policy)).ports()
        self.authority = await to_thread.run_sync(authority, paths.authority, self._id.name)

    def serve(self, network: Network) -> None:
        """The machine runs: register these sockets."""
        self._network = network
        self._served.set()

    async def settled(self) -> None:
        """Wait until the sandbox is registered for the first time. Raises what prevents that."""
        with anyio.move_on_after(_LISTEN_TIMEOUT + _AWAY):
            await self._decided.wait()
        if not self.confirmed:
            raise self._trouble or self._away()

    async def set_policy(self, policy: Policy) -> None:
        """Hold the sandbox to another policy. Returns when the gateway goes by it; else raises, and nothing changed.

        Waits up to 20 s for a gateway that is being restarted. Raises PolicyError, MachineError, HostError.
        """
        compiled = await to_thread.run_sync(compile_policy, policy)
        with anyio.move_on_after(_AWAY):
            while True:
                await self._linked.wait()
                async with self._turn:
                    if self._link is not None and await self._change(self._link, policy, compiled.ports()):
                        return
        raise self._away()

    async def provide(self, values: tuple[tuple[str, str], ...]) -> None:
        """Have the gateway use these values of credentials, now and after each registration."""
        self._values.update(values)
        async with self._turn:
            if self._link is not None:
                try:
                    _accepted(await self._link.ask(Provide(values)))
                except ControlError as exc:  # the next registration has them
                    self._trouble = exc
                    self._link.end()

    @property
    def tags(self) -> tuple[tuple[str, str], ...]:
        """A keyed digest of each value that was provided, by the credential's name; sorted."""
        return tuple((name, tag(value)) for name, value in sorted(self._values.items()))

    async def _change(self, link: Link, policy: Policy, ports: Collection[int]) -> bool:
        """Whether the gateway goes by it now; False when it was lost, and the next one begins with the old policy."""
        try:
            await self._listen(link, ports)
            confirmed = _agreed(await link.ask(SetPolicy(policy)), policy)
        except ControlError as exc:
            self._trouble = exc
            self._unlink(link)
            link.end()
            return False
        meant = still_meant(self._values, self.policy.credentials, policy.credentials)
        self._values = {name: value for name, value in self._values.items() if name in meant}
        self.policy = policy
        if self._link is link:  # else it was lost with its last word
            self.confirmed = confirmed
        return True

    def _regret(self, trouble: SandboxfileError) -> None:
        for line in (f"no way out: {trouble}", *trouble.details()):
            say(line)
        self._trouble = trouble
        if not isinstance(trouble, ControlError):  # those pass
            self._decided.set()

    def _away(self) -> HostError:
        because = f": {self._trouble}" if self._trouble else ""
        return HostError(
            f"the gateway does not answer{because}",
            hint=f"nothing gets out meanwhile; its log is {self._layout.gateway_log}",
            output=tail(self._layout.gateway_log),
        )

    # --- one registration ----------------------------------------------------------------------------------------

    async def _stay_registered(self) -> None:
        """Until the connection ends. Raises HostError when the gateway refuses, ControlError when it talks nonsense."""
        link = Link(await open_wire(self._layout.gateway_socket, "gateway"))
        try:
            async with beside(partial(self._register, link)):
                await link.attend()
                if self._link is not link:
                    raise link.trouble or ControlError("the gateway hung up before the sandbox was registered")
        finally:
            self._unlink(link)
            link.close()

    async def _register(self, link: Link) -> None:
        async with self._turn:
            message = Register(
                sandbox=str(self._id),
                policy=self.policy,
                certificate=self.authority.certificate,
                key=self.authority.key,
                log=str(self._layout.sandbox(self._id).network_log),
                proxies=proxies(self._environ),
            )
            expected = _agreed(await link.ask(message), self.policy)
            if self._values:
                _accepted(await link.ask(Provide(tuple(sorted(self._values.items())))))
            await self._listen(link, ())
            self.confirmed = expected
            self._link = link
            self._trouble = None
            self._linked.set()
            self._decided.set()

    def _unlink(self, link: Link) -> None:
        if self._link is link:
            self._link = None
            self.confirmed = ""
            self._linked = anyio.Event()

    async def _listen(self, link: Link, ports: Collection[int]) -> None:
        """Hand over every socket that this gateway does not have yet, with those for these ports.

        None is ever closed: on a port that no rule names any more the gateway refuses, and the kernel would not.
        """
        for port in sorted(ports):
            if port != PROXY_PORT and ("transparent", port) not in self._network.sockets:
                await self._network.listen(port)
        for key, sock in list(self._network.sockets.items()):
            if key not in link.listening:
                _accepted(await link.ask(Listen(*key), [sock.fileno()]), f"does not serve port {key[1]}")
                link.listening.add(key)

    # --- the gateway's process -----------------------------------------------------------------------------------

    async def _start_gateway(self, group: TaskGroup) -> None:
        """Have somebody listen. Raises HostError, with the gateway's last words, when it ends instead."""
        child: int | None = None
        with anyio.move_on_after(_LISTEN_TIMEOUT):
            while not await self._answers():
                if child is None and not is_locked(self._layout.gateway_lock):
                    child = spawn_detached(_MODULE, [], self._layout.gateway_log)
                    group.start_soon(self._bury, child)
                if child is not None and (code := self._exits.pop(child, None)) is not None:
                    if code != TAKEN:
                        raise HostError(
                            f"the gateway did not start (exit code {code})",
                            hint=f"no sandbox runs without it; its log is {self._layout.gateway_log}",
                            output=tail(self._layout.gateway_log),
                        )
                    child = None
                await anyio.sleep(_POLL)
            return
        raise self._away()

    async def _bury(self, child: int) -> None:
        self._exits[child] = await ended(child)

    async def _answers(self) -> bool:
        try:
            wire = await open_wire(self._layout.gateway_socket, "gateway", timeout=1)
        except ControlError:
            return False
        wire.close()
        return True


def proxies(environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """This host's own proxy settings by lower-case name, those set. Lower-case variables count first, as in curl."""
    found = ((name, environ.get(name) or environ.get(name.upper(), "")) for name in PROXIES)
    return tuple((name, value) for name, value in found if value)


def _accepted(reply: Message, otherwise: str = "refuses credentials") -> None:
    """Raises HostError when the gateway refuses, ControlError when it talks nonsense."""
    if isinstance(reply, Refused):
        raise HostError(f"the gateway {otherwise}: {reply.message}")
    if not isinstance(reply, Accepted):
        raise ControlError(f"the gateway answered with {type(reply).__name__}")


def _agreed(reply: Message, policy: Policy) -> str:
    """The fingerprint of a policy that the gateway goes by now. Raises HostError when it refuses."""
    match reply:
        case Confirmed(confirmed) if confirmed == fingerprint(policy):
            return confirmed
        case Refused(message):
            raise HostError(
                f"the gateway refuses the policy: {message}",
                hint="nothing was changed; `sbx policy show --effective NAME` shows what is asked for",
            )
    raise ControlError(f"the gateway confirms another policy: {reply}")
