"""Each sandbox's own certificate authority: made at its first start, kept beside its record, trusted only inside it.

One file, mode 0600, holds certificate and key; it goes with the sandbox's directory. The guest is given the certificate
alone. One that cannot be used (torn, expired soon, another sandbox's) is made anew; the next boot installs the new one.
Blocking: called in a thread.
"""

import hashlib
import re
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path

from sandboxfile.errors import HostError
from sandboxfile.host.durable import write_atomic

_YEARS = 10
_SPARE = 90 * 86400  # seconds: one that ends sooner is replaced
_SKEW = 2  # days before now: the clock of a guest may be behind
_NAME_LIMIT = 64  # of a common name: RFC 5280, ub-common-name
_PEM = re.compile(r"-----BEGIN ([A-Z ]+)-----\n[A-Za-z0-9+/=\n]+-----END \1-----\n")


@dataclass(frozen=True, slots=True)
class Authority:
    """PEM texts, and the name by which OpenSSL looks the certificate up: 8 hexadecimal digits."""

    certificate: str
    key: str = field(repr=False)
    subject_hash: str


def authority(path: Path, name: str) -> Authority:
    """The authority of the sandbox called `name`, read from `path`, or made and written there. Raises HostError."""
    common_name = f"sandboxfile {name}"[:_NAME_LIMIT]
    found = _read(path, common_name)
    if found is None:
        certificate, key = _make(common_name)
        try:
            write_atomic(path, (certificate + key).encode())
        except OSError as exc:
            raise HostError(f"cannot write {path}: {exc.strerror}", hint="is the disk full?") from exc
        found = certificate, key
    return Authority(*found, subject_hash(common_name))


def subject_hash(common_name: str) -> str:
    """What `openssl x509 -subject_hash` prints for a subject that is only this (ASCII, short) common name.

    The first four bytes, as a little-endian number, of the SHA-1 of the name's canonical encoding: RDNs without the
    SEQUENCE around them, values as lower-case UTF8String (x509_name_canon in OpenSSL's crypto/x509/x_name.c).
    """
    value = " ".join(common_name.lower().split()).encode("ascii")
    attribute = b"\x06\x03\x55\x04\x03" + _der(0x0C, value)  # 2.5.4.3: commonName
    canonical = _der(0x31, _der(0x30, attribute))
    digest = hashlib.sha1(canonical, usedforsecurity=False).digest()
    return f"{int.from_bytes(digest[:4], 'little'):08x}"


def _der(tag: int, content: bytes) -> bytes:
    assert len(content) < 128  # the short form of a length
    return bytes((tag, len(content))) + content


def _read(path: Path, common_name: str) -> tuple[str, str] | None:
    """Certificate and key, when they belong together and can still be used.

    OpenSSL's own opinion, by way of `ssl`, which is loaded anyway: `cryptography.x509` would cost each start 0.1 s.
    """
    try:
        text = path.read_text("ascii")
        parts = [match.group(0) for match in _PEM.finditer(text)]
        certificate, key = parts
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)  # raises unless the key is the certificate's
        context.load_verify_locations(cadata=certificate)
        (facts,) = context.get_ca_certs()
        ends = ssl.cert_time_to_seconds(str(facts["notAfter"]))
    except (OSError, ValueError, KeyError):  # ssl.SSLError is an OSError
        return None
    usable = facts.get("subject") == ((("commonName", common_name),),) and ends - time.time() > _SPARE
    return (certificate, key) if usable else None


def _make(common_name: str) -> tuple[str, str]:
    """A fresh one: P-256, which every client of the last fifteen years takes, and which signs 30 times as fast as RSA.

    Path length 0: what it signs is no authority.
    """
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    now = datetime.now(UTC)
    others = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    signs = x509.KeyUsage(
        key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False, **dict.fromkeys(others, False)
    )
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=_SKEW))
        .not_valid_after(now + timedelta(days=365 * _YEARS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(signs, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    certificate = builder.sign(key, SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM).decode(), private.decode()
