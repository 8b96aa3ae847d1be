"""TLS on both sides: what a client offers, and servers that are held to the host's own trust, always."""

import asyncio
import ssl
from pathlib import Path

from mitmproxy.proxy.layers.tls import parse_client_hello

from sandboxfile.gateway.hello import NotTLS, parse_hello
from sandboxfile.gateway.intercept.links import Link, TlsLink

HANDSHAKE = 30.0  # seconds
# Where distributions keep the bundle, for an OpenSSL that was built to look elsewhere.
_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


class Trust:
    """The authorities that upstream servers are held to: the system's, as OpenSSL finds them, and `extra` ones."""

    def __init__(self, extra: Path | None) -> None:
        """Raises OSError when `extra` cannot be read."""
        self._contexts = {http2: _client_context(extra, http2) for http2 in (False, True)}

    async def secure(
        self, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter], name: str, http2: bool
    ) -> TlsLink:
        """TLS to the server `name`. Raises OSError; the connection is dropped then."""
        link = TlsLink(*streams, b"", self._contexts[http2], name)
        try:
            async with asyncio.timeout(HANDSHAKE):
                await link.handshake()
        except BaseException:
            link.abort()
            raise
        return link


def _client_context(extra: Path | None, http2: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificates and names
    context.hostname_checks_common_name = False
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_default_verify_paths()  # honours SSL_CERT_FILE and SSL_CERT_DIR
    paths = ssl.get_default_verify_paths()
    if not any((paths.cafile, paths.capath)):
        bundle = next((path for path in _BUNDLES if Path(path).is_file()), None)
        if bundle is not None:
            context.load_verify_locations(bundle)
    if extra is not None:
        context.load_verify_locations(extra)
    context.set_alpn_protocols(["h2", "http/1.1"] if http2 else ["http/1.1"])
    return context


async def read_hello(link: Link) -> tuple[str | None, bool]:
    """The server name a client asks for, and whether it offers HTTP/2; all bytes stay to be read. Raises NotTLS."""
    data = await link.peek()
    while (hello := parse_hello(data)) is None:
        longer = await link.peek(len(data))
        if len(longer) == len(data):
            raise NotTLS("the client left in its hello")
        data = longer
    return hello.name, b"\x02h2" in data and _offers_http2(data)


def _offers_http2(data: bytes) -> bool:
    try:
        parsed = parse_client_hello(data)
    except ValueError:
        return False
    return parsed is not None and b"h2" in parsed.alpn_protocols


def failure_words(error: OSError) -> str:
    """Why a server could not be reached, to follow `cannot reach HOST:PORT: `."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message.rstrip('.')})"
    if isinstance(error, ssl.SSLError):
        reason = error.reason or "an error"
        if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"):
            return "it does not speak TLS"
        return f"the TLS handshake failed ({reason.lower().replace('_', ' ')})"
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "it refused the connection"
    return error.strerror or str(error) or type(error).__name__
