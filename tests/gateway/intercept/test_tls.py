"""The trust that upstream servers are held to."""

import ssl
from pathlib import Path

import pytest

from sandboxfile.gateway.intercept import tls as module
from sandboxfile.gateway.intercept.certificates import Certificates
from sandboxfile.gateway.intercept.tls import Trust, failure_words

from .conftest import make_authority
from .test_certificates import handshake


@pytest.mark.parametrize("variable", [True, False])
def test_trusted_is_what_openssl_is_told_to_trust_and_the_extra_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: bool
) -> None:
    authority = make_authority("origin servers")
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(authority.certificate)
    server = Certificates(authority.certificate, authority.key).context("api.example.com", True)
    unknowing = module._client_context(None, True)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server, unknowing, "api.example.com")
    if variable:
        monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    knowing = module._client_context(None if variable else bundle, True)
    assert handshake(server, knowing, "api.example.com").selected_alpn_protocol() == "h2"
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(server, knowing, "other.example.com")


def test_an_extra_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Trust(tmp_path / "none.pem")


def test_failures_are_said_in_words() -> None:
    assert failure_words(ConnectionRefusedError(111, "Connection refused")) == "it refused the connection"
    assert failure_words(TimeoutError()) == "it did not answer in time"
    assert failure_words(OSError(113, "No route to host")) == "No route to host"
    assert failure_words(ConnectionResetError("broke off")) == "broke off"
