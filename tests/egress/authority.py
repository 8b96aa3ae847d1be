"""A certificate authority of the origin servers' own, made in a moment; and certificates outside of it."""

import base64
import datetime
import hashlib
import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_VALID = datetime.timedelta(days=30)


@dataclass(frozen=True)
class Identity:
    """A certificate and its key, PEM. `fingerprint` is the SHA-256 of the certificate (DER) in lower-case hex."""

    certificate: str
    key: str

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(self.certificate)).hexdigest()

    @property
    def public_key_pin(self) -> str:
        """As `curl --pinnedpubkey` wants it."""
        public = x509.load_pem_x509_certificate(self.certificate.encode()).public_key()
        encoding = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return "sha256//" + base64.b64encode(hashlib.sha256(public.public_bytes(*encoding)).digest()).decode()

    def context(self, directory: Path, protocols: Sequence[str]) -> ssl.SSLContext:
        """For a server with this certificate. The key is written to `directory` only while it is loaded."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        file = directory / f"{self.fingerprint}.pem"
        file.touch(mode=0o600)
        try:
            file.write_text(self.certificate + self.key)
            context.load_cert_chain(file)
        finally:
            file.unlink()
        context.set_alpn_protocols(list(protocols))
        return context


class Authority:
    """Signs certificates for names and addresses. `certificate` is what a client has to trust, PEM."""

    def __init__(self, name: str = "origin servers") -> None:
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = _pem(_certificate(self._name, (), self._key, self._name, self._key))

    def issue(self, *names: str) -> Identity:
        """A certificate for these names; the first is its common name."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        return Identity(_pem(_certificate(subject, names, key, self._name, self._key)), _key_pem(key))


def self_signed(*names: str) -> Identity:
    """A certificate that no authority vouches for: clients have to know it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    return Identity(_pem(_certificate(subject, names, key, subject, key)), _key_pem(key))


def _certificate(
    subject: x509.Name,
    names: Sequence[str],
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    """An authority's certificate when there are no names."""
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + _VALID)
        .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if names:
        alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    else:
        builder = builder.add_extension(_SIGNS_CERTIFICATES, critical=True)
    return builder.sign(issuer_key, hashes.SHA256())


_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()
