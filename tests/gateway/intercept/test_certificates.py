"""Leaf certificates as clients check them."""

import ssl
import time

import pytest

from sandboxfile.gateway.intercept import certificates as module
from sandboxfile.gateway.intercept.certificates import Certificates

from .conftest import make_authority


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> ssl.SSLObject:
    """The client's end of a connection over memory."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(back, there, server_hostname=name)
    theirs = server.wrap_bio(there, back, server_side=True)
    for _ in range(4):
        for side in (ours, theirs):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ours


@pytest.mark.parametrize("name", ["api.example.com", "192.0.2.7", "2001:db8::1", "a" * 60 + ".example.com"])
def test_a_strict_client_accepts_the_leaf_of_its_authority(name: str) -> None:
    authority = make_authority("sandbox web")
    client = ssl.create_default_context(cadata=authority.certificate)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    certificates = Certificates(authority.certificate, authority.key)
    assert handshake(certificates.context(name, False), client, name).version() == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(certificates.context(name, False), client, "other.example.com")


@pytest.mark.parametrize(("http2", "agreed"), [(True, "h2"), (False, "http/1.1")])
def test_http2_is_offered_only_when_asked_for(http2: bool, agreed: str) -> None:
    authority = make_authority("sandbox web")
    client = ssl.create_default_context(cadata=authority.certificate)
    client.set_alpn_protocols(["h2", "http/1.1"])
    context = Certificates(authority.certificate, authority.key).context("api.example.com", http2)
    assert handshake(context, client, "api.example.com").selected_alpn_protocol() == agreed


def test_another_authority_is_not_believed() -> None:
    authority = make_authority("sandbox web")
    client = ssl.create_default_context(cadata=make_authority("sandbox web").certificate)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(
            Certificates(authority.certificate, authority.key).context("a.example.com", False), client, "a.example.com"
        )


def test_leaves_are_kept_a_while_and_not_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LIMIT", 3)
    authority = make_authority("sandbox web")
    certificates = Certificates(authority.certificate, authority.key)
    first = certificates.context("a.example.com", False)
    assert certificates.context("a.example.com", False) is first
    for name in "bcd":
        certificates.context(f"{name}.example.com", False)
    again = certificates.context("a.example.com", False)
    assert again is not first
    later = time.monotonic() + 30 * 86400
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert certificates.context("a.example.com", False) is not again
