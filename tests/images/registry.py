"""A real registry on loopback, for as long as a test needs it: Debian's docker-registry, with files of its own.

With and without a password, with and without TLS of an authority that only the test knows.
"""

import contextlib
import datetime
import ipaddress
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import bcrypt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

START_SECONDS = 20.0
TRIES = 5  # for a port that somebody else takes between our choice and its use


@dataclass(frozen=True)
class Registry:
    """A running registry. As text it is its address. `authority`: the certificate to trust, when it speaks TLS."""

    address: str
    authority: Path | None = None

    def __str__(self) -> str:
        return self.address


@contextlib.contextmanager
def running_registry(
    directory: Path, *, user: str = "", password: str = "", tls: bool | tuple[str, str] = False
) -> Iterator[Registry]:
    """Serve what is in `directory` (made when it is not there, empty then) until the block ends.

    `tls` may be a certificate and its key, PEM, of an authority that the test knows.
    """
    program = shutil.which("docker-registry")
    assert program, "the Debian package docker-registry is not installed: scripts/test installs it"
    directory.mkdir(parents=True, exist_ok=True)
    certificate = _given(directory, *tls) if isinstance(tls, tuple) else _certificate(directory) if tls else None
    for _ in range(TRIES):
        port = _free_port()
        config = directory / "config.yml"
        config.write_text(json.dumps(_config(directory, port, user, password, certificate)))
        with (directory / "log").open("ab") as log:
            process = subprocess.Popen(
                [program, "serve", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            if _answers(process, port):
                yield Registry(f"127.0.0.1:{port}", certificate[0] if certificate else None)
                return
        finally:
            process.terminate()
            process.wait(10)
    raise AssertionError((directory / "log").read_text()[-4000:])


def _config(directory: Path, port: int, user: str, password: str, certificate: tuple[Path | None, Path, Path] | None):
    """JSON is YAML."""
    http = {"addr": f"127.0.0.1:{port}", "secret": "only for tests"}
    if certificate:
        http["tls"] = {"certificate": str(certificate[1]), "key": str(certificate[2])}
    storage = {"filesystem": {"rootdirectory": str(directory / "data")}, "delete": {"enabled": True}}
    config = {"version": "0.1", "log": {"level": "warn"}, "storage": storage, "http": http}
    if user:
        accounts = directory / "htpasswd"
        accounts.write_bytes(user.encode() + b":" + bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)) + b"\n")
        config["auth"] = {"htpasswd": {"realm": "tests", "path": str(accounts)}}
    return config


def _answers(process: "subprocess.Popen[bytes]", port: int) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        time.sleep(0.02)
    return False


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _given(directory: Path, certificate: str, key: str) -> tuple[None, Path, Path]:
    paths = directory / "given.crt", directory / "given.key"
    for path, text in zip(paths, (certificate, key), strict=True):
        path.touch(mode=0o600)
        path.write_text(text)
    return None, *paths


def _certificate(directory: Path) -> tuple[Path, Path, Path]:
    """Certificate of an authority, and certificate and key of a registry on loopback, as files."""
    now = datetime.datetime.now(datetime.UTC)
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("authority", "registry")}
    names = {name: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"{name} of tests")]) for name in keys}
    paths = {name: directory / f"{name}.crt" for name in keys}
    for name, key in keys.items():
        builder = x509.CertificateBuilder(
            issuer_name=names["authority"],
            subject_name=names[name],
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - datetime.timedelta(hours=1),
            not_valid_after=now + datetime.timedelta(days=1),
        ).add_extension(x509.BasicConstraints(ca=name == "authority", path_length=None), critical=True)
        if name == "registry":
            loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            builder = builder.add_extension(x509.SubjectAlternativeName([loopback]), critical=False)
        signed = builder.sign(keys["authority"], hashes.SHA256())
        paths[name].write_bytes(signed.public_bytes(Encoding.PEM))
    key_file = directory / "registry.key"
    key_file.write_bytes(keys["registry"].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths["authority"], paths["registry"], key_file
