"""A gateway's interceptor on loopback, with a small tenant, origin servers of its own, and clients that are real."""

import asyncio
import datetime
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sandboxfile.errors import SandboxfileError
from sandboxfile.gateway.intercept import Interceptor
from sandboxfile.gateway.sources import Sources
from sandboxfile.gateway.streams import Peeked
from sandboxfile.gateway.tenant import Authority
from sandboxfile.gateway.values import Values
from sandboxfile.model.credential import Credential, SecretSource
from sandboxfile.model.policy import Decision, Request
from sandboxfile.policy.bindings import NOTHING_BOUND, Bindings
from sandboxfile.policy.patterns import canonical_host

from .origin import Origin, running

NAMES = ("api.example.com", "h1.example.com", "other.example.com", "localhost")


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"  # mitmproxy knows no other


def make_authority(name: str) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    certificate = (
        _certificate(subject, subject, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(_pem(certificate), _key_pem(key))


def issue(authority: Authority, *names: str) -> str:
    """A certificate and its key, PEM."""
    issuer = x509.load_pem_x509_certificate(authority.certificate.encode())
    issuer_key = serialization.load_pem_private_key(authority.key.encode(), None)
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _certificate(x509.Name([]), issuer.subject, key)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )
    return _pem(certificate) + _key_pem(key)


def _certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    return x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number(), now - day, now + day)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def no_source(source: SecretSource) -> str:
    raise SandboxfileError(f"there is no {source.text}")


@dataclass
class FakeFlow:
    request: Request
    decision: Decision
    cut: Callable[[], None] | None
    injected: tuple[str, ...] = ()
    sent: int = 0
    received: int = 0
    status: int | None = None
    error: str = ""
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def end(self, status: int | None = None, error: str = "") -> None:
        if not self.over.is_set():
            self.status, self.error = status, error
            self.over.set()


@dataclass
class FakeTenant:
    """Allows what `denied` does not name (hosts, or paths), and resolves by `hosts`: (host, port) to an address."""

    authority: Authority
    hosts: dict[tuple[str, int], tuple[str, int]]
    name: str = "web"
    id: str = "shop/web"
    certificates: Any = None
    denied: set[str] = field(default_factory=set)
    flows: list[FakeFlow] = field(default_factory=list)
    dialled: list[str] = field(default_factory=list)
    authorized: list[Request] = field(default_factory=list)
    addresses: tuple[str, ...] = ("127.0.0.1",)
    fails: bool = False
    bindings: Bindings = NOTHING_BOUND
    bypassed: set[str] = field(default_factory=set)
    values: Values = field(default_factory=lambda: Values(Sources(no_source)))
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    slow: asyncio.Event | None = None

    def decide(self, request: Request) -> Decision:
        host = canonical_host(request.host)
        if host is None or host in self.denied or request.path in self.denied:
            reason = f"{request.host}:{request.port} is not allowed"
            return Decision(False, request.host, request.port, "mode deny", "policy web", "", reason)
        bypass = host in self.bypassed
        return Decision(
            True, host, request.port, "rule", "policy web", "", "allowed", inspect=not bypass, bypass=bypass
        )

    def lend(self, *credentials: Credential, values: dict[str, str] | None = None) -> None:
        """Hold these credentials from now on; of the ones from the environment, with these values."""
        self.values.adopt(credentials)
        self.values.give((values or {}).items())
        self.bindings = Bindings(credentials)

    async def authorize(self, request: Request) -> Decision:
        self.authorized.append(request)
        self.asked.set()
        if self.fails:
            raise RuntimeError("a mistake of ours")
        if self.slow is not None:
            await self.slow.wait()
        decision = self.decide(request)
        if decision.allowed and (decision.host, request.port) not in self.hosts:
            reason = f"{decision.host} does not resolve: no such name"
            return Decision(False, decision.host, request.port, "no address", "gateway", "", reason)
        return replace(decision, addresses=self.addresses) if decision.allowed else decision

    async def dial(self, decision: Decision, _: str = "https") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        assert decision.allowed
        self.dialled.append(f"{decision.host}:{decision.port}")
        return await asyncio.open_connection(*self.hosts[decision.host, decision.port], limit=1 << 18)

    def begin(
        self,
        request: Request,
        decision: Decision,
        cut: Any,
        *,
        via: str = "",
        inspected: bool = True,
        injected: tuple[str, ...] = (),
    ) -> FakeFlow:
        flow = FakeFlow(request, decision, cut, injected)
        self.flows.append(flow)
        if not decision.allowed:
            flow.end()
        return flow

    def denial(self, request: Request, decision: Decision) -> str:
        return f"Blocked by the network policy of sandbox 'web': {decision.reason}\n"


@dataclass
class Bench:
    """`port` is the explicit proxy's. `authority` is the file that clients trust."""

    tenant: FakeTenant
    origin: Origin
    port: int
    transparent: Callable[[str, int], Any]
    authority: Path
    errors: list[BaseException]

    async def curl(self, *arguments: str, trusted: bool = True) -> tuple[int, str, str]:
        """Exit code, standard output with ` [STATUS VERSION]` at the end, standard error."""
        trust = ["--cacert", str(self.authority)] if trusted else []
        line = ["curl", "-sS", "-m", "20", "-x", f"http://127.0.0.1:{self.port}", *trust]
        line += ["-w", " [%{http_code} %{http_version}]", *arguments]
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        child = await asyncio.create_subprocess_exec(*line, stdout=-1, stderr=-1, env=environment)
        out, err = await child.communicate()
        return child.returncode or 0, out.decode("latin-1"), err.decode()

    async def raw(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)

    async def tunnel(
        self, target: str = "h1.example.com:443", *, protocols: tuple[str, ...] = (), sni: str | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """CONNECT, and TLS within."""
        reader, writer = await self.connect(target)
        context = ssl.create_default_context(cafile=str(self.authority))
        if protocols:
            context.set_alpn_protocols(list(protocols))
        await writer.start_tls(context, server_hostname=sni or target.rpartition(":")[0])
        return reader, writer

    async def connect(self, target: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await self.raw()
        writer.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        return reader, writer


@pytest.fixture(scope="session")
def origin_authority() -> Authority:
    return make_authority("origin servers")


@pytest.fixture
async def bench(tmp_path: Path, origin_authority: Authority) -> AsyncIterator[Bench]:
    async with _bench(tmp_path, origin_authority) as made:
        yield made
        assert not made.errors


@asynccontextmanager
async def _bench(place: Path, origins: Authority) -> AsyncIterator[Bench]:
    trusted = place / "origins.pem"
    trusted.write_text(origins.certificate)
    ours = make_authority("sandbox web")
    (place / "sandbox.pem").write_text(ours.certificate)
    contexts = (
        _server(place, issue(origins, *NAMES), "h2", "http/1.1"),
        _server(place, issue(origins, *NAMES), "http/1.1"),
        _server(place, issue(make_authority("nobody"), *NAMES, "strange.example.com"), "http/1.1"),
    )
    async with AsyncExitStack() as stack:
        origin = await stack.enter_async_context(running(*contexts))
        hosts = {
            ("api.example.com", 443): ("127.0.0.1", origin.https),
            ("h1.example.com", 443): ("127.0.0.1", origin.https_h1),
            ("other.example.com", 443): ("127.0.0.1", origin.https_h1),
            ("misnamed.example.com", 443): ("127.0.0.1", origin.https_h1),
            ("strange.example.com", 443): ("127.0.0.1", origin.strange),
            ("closed.example.com", 443): ("127.0.0.1", 1),
            ("cleartext.example.com", 443): ("127.0.0.1", origin.greeting),
            ("api.example.com", 80): ("127.0.0.1", origin.http1),
            ("other.example.com", 80): ("127.0.0.1", origin.http1),
            ("localhost", 8000): ("127.0.0.1", origin.http1),
        }
        tenant = FakeTenant(ours, hosts, denied={"evil.example.com"})
        interceptor = Interceptor(trusted)
        errors: list[BaseException] = []
        tasks: set[asyncio.Task[None]] = set()

        def acceptor(serve: Callable[[Peeked], Any]) -> Any:
            async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                task = asyncio.current_task()
                assert task is not None
                tasks.add(task)
                try:
                    await serve(Peeked(reader, writer, writer.get_extra_info("peername")))
                except Exception as exc:
                    errors.append(exc)
                    raise
                finally:
                    tasks.discard(task)

            return asyncio.start_server(accept, "127.0.0.1", 0, limit=1 << 18)

        async def listen(serve: Callable[[Peeked], Any]) -> int:
            server = await acceptor(serve)
            stack.callback(server.close)
            return int(server.sockets[0].getsockname()[1])

        async def transparent(host: str, port: int) -> int:
            return await listen(lambda client: interceptor.transparent(tenant, client, host, port))  # type: ignore[arg-type]

        port = await listen(lambda client: interceptor.explicit(tenant, client))  # type: ignore[arg-type]
        yield Bench(tenant, origin, port, transparent, place / "sandbox.pem", errors)
        for _ in range(200):  # clients have gone: all of this ends by itself
            if not tasks:
                break
            await asyncio.sleep(0.02)
        assert not tasks, "connections outlive their clients"


def _server(place: Path, identity: str, *protocols: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    file = place / "identity.pem"
    file.write_text(identity)
    context.load_cert_chain(file)
    context.set_alpn_protocols(list(protocols))
    return context
