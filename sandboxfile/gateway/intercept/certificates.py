"""Leaf certificates of one sandbox's own authority, made as names are met. In memory only, and a bounded number.

All leaves share one key of their own: making a certificate is one signature.
"""

import datetime
import ipaddress
import os
import ssl
import time
from collections import OrderedDict

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIMIT = 256  # names of one sandbox that are remembered, the latest used
_VALID = datetime.timedelta(days=60)
_BEFORE = datetime.timedelta(days=2)  # for clocks that are slow
_RENEW = 20 * 86400.0  # seconds after which a certificate is made anew
_COMMON_NAME = 64  # characters, by X.520


class Certificates:
    """Contexts for the server's end of TLS with clients of one sandbox. Raises ValueError for a wrong authority."""

    def __init__(self, certificate: str, key: str) -> None:
        self._authority = x509.load_pem_x509_certificate(certificate.encode())
        authority_key = serialization.load_pem_private_key(key.encode(), None)
        if not isinstance(authority_key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            raise ValueError("the authority's key is neither an elliptic curve's nor RSA")
        self._authority_key = authority_key
        self._key = ec.generate_private_key(ec.SECP256R1())
        form = serialization.PrivateFormat.PKCS8
        self._key_pem = self._key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        self._contexts: OrderedDict[tuple[str, bool], tuple[ssl.SSLContext, float]] = OrderedDict()

    def context(self, name: str, http2: bool) -> ssl.SSLContext:
        """For a client that means `name` (canonical: a name or an address), offering HTTP/2 or HTTP/1.1 only."""
        now = time.monotonic()
        context, made = self._contexts.pop((name, http2), (None, 0.0))
        if context is None or now - made > _RENEW:
            context, made = self._context(name, http2), now
        self._contexts[name, http2] = (context, made)
        if len(self._contexts) > _LIMIT:
            self._contexts.popitem(last=False)
        return context

    def _context(self, name: str, http2: bool) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.num_tickets = 1
        context.set_alpn_protocols(["h2", "http/1.1"] if http2 else ["http/1.1"])
        # The standard library loads certificates from files only; this file is memory.
        file = os.memfd_create("leaf", os.MFD_CLOEXEC)
        try:
            os.write(file, self._leaf(name).public_bytes(serialization.Encoding.PEM) + self._key_pem)
            context.load_cert_chain(f"/proc/self/fd/{file}")
        finally:
            os.close(file)
        return context

    def _leaf(self, name: str) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, name)] if len(name) <= _COMMON_NAME else []
        return (
            x509.CertificateBuilder(self._authority.subject, x509.Name(subject), self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(max(now - _BEFORE, self._authority.not_valid_before_utc))
            .not_valid_after(min(now + _VALID, self._authority.not_valid_after_utc))
            .add_extension(x509.SubjectAlternativeName([_general_name(name)]), critical=not subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(self._issuer(), critical=False)
            .sign(self._authority_key, hashes.SHA256())
        )

    def _issuer(self) -> x509.AuthorityKeyIdentifier:
        try:
            known = self._authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        except x509.ExtensionNotFound:
            return x509.AuthorityKeyIdentifier.from_issuer_public_key(self._authority_key.public_key())
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(known)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
