"""The sandbox's own certificate authority, as OpenSSL sees it, and what makes one be made anew."""

import datetime
import os
import shutil
import stat
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from sandboxfile.errors import HostError
from sandboxfile.supervisor import authority as module
from sandboxfile.supervisor.authority import authority, subject_hash

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")


def openssl(*arguments):
    ended = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    return ended.stdout + ended.stderr


@pytest.fixture
def path(tmp_path):
    return tmp_path / "authority.pem"


def test_it_is_made_once_and_only_its_owner_can_read_it(path):
    made = authority(path, "web")
    assert authority(path, "web") == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "PRIVATE" not in made.certificate
    assert "PRIVATE" not in repr(made)


def test_every_sandbox_has_another_key(path, tmp_path):
    assert authority(path, "web").key != authority(tmp_path / "other.pem", "web").key


def test_it_may_sign_and_do_nothing_else_for_ten_years(path):
    made = x509.load_pem_x509_certificate(authority(path, "web").certificate.encode())
    assert made.subject == made.issuer
    assert made.subject.rfc4514_string() == "CN=sandboxfile web"
    constraints = made.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)
    usage = made.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.key_cert_sign, usage.crl_sign, usage.digital_signature) == (True, True, False)
    now = datetime.datetime.now(datetime.UTC)
    assert made.not_valid_before_utc < now - datetime.timedelta(days=1)
    assert 3640 < (made.not_valid_after_utc - now).days < 3660


def leaf(made, name):
    """A certificate for a server, signed by an authority."""
    issuer = x509.load_pem_x509_certificate(made.certificate.encode())
    now = datetime.datetime.now(datetime.UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder(issuer.subject, x509.Name([]), key.public_key(), 1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), critical=False)
    )
    return builder.sign(load_pem_private_key(made.key.encode(), None), SHA256())


@needs_openssl
def test_openssl_accepts_what_it_signs_and_nothing_that_another_one_signs(path, tmp_path):
    made, other = authority(path, "web"), authority(tmp_path / "other.pem", "web")
    trusted = tmp_path / "trusted.pem"
    trusted.write_text(made.certificate)
    for signer, verdict in ((made, "OK"), (other, "failed")):
        signed = tmp_path / "leaf.pem"
        signed.write_bytes(leaf(signer, "api.example.com").public_bytes(Encoding.PEM))
        said = openssl("verify", "-x509_strict", "-verify_hostname", "api.example.com", "-CAfile", trusted, signed)
        assert verdict in said, said


@needs_openssl
@pytest.mark.parametrize("name", ["web", "a", "a_b-c9", "x" * 63])
def test_its_hash_is_the_one_that_openssl_looks_it_up_by(path, name):
    made = authority(path, name)
    assert openssl("x509", "-in", path, "-noout", "-subject_hash").split() == [made.subject_hash]


def test_the_hash_of_a_known_name():
    assert subject_hash("sandboxfile web2") == "5387c057"
    assert subject_hash("Sandboxfile  WEB2") == "5387c057"  # as OpenSSL: neither case nor spaces count


def garbage(path):
    path.write_bytes(b"\xff\x00garbage")


def empty(path):
    path.write_bytes(b"")


def torn(path):
    path.write_bytes(path.read_bytes()[:-60])


def without_key(path):
    text = path.read_text()
    path.write_text(text[: text.index("-----BEGIN PRIVATE")])


def of_another_key(path):
    other = authority(path.with_name("other.pem"), "web")
    text = path.read_text()
    path.write_text(text[: text.index("-----BEGIN PRIVATE")] + other.key)


def of_another_name(path):
    path.unlink()
    authority(path, "api")


def unreadable(path):
    path.unlink()
    path.symlink_to(path)


@pytest.mark.parametrize(
    "damage", [garbage, empty, torn, without_key, of_another_key, of_another_name, unreadable], ids=lambda f: f.__name__
)
def test_one_that_cannot_be_used_is_made_anew(path, damage):
    before = authority(path, "web")
    damage(path)
    after = authority(path, "web")
    assert after.certificate != before.certificate
    assert authority(path, "web") == after


def test_one_that_ends_soon_is_made_anew(path, monkeypatch):
    monkeypatch.setattr(module, "_YEARS", 0.2)
    before = authority(path, "web")
    monkeypatch.setattr(module, "_YEARS", 10)
    assert authority(path, "web") != before


def test_a_directory_that_cannot_be_written_is_said_in_words(tmp_path):
    if os.geteuid() == 0:
        gone = tmp_path / "gone" / "authority.pem"
        with pytest.raises(HostError, match="cannot write"):
            authority(gone, "web")
    else:
        tmp_path.chmod(0o500)
        with pytest.raises(HostError, match="cannot write"):
            authority(tmp_path / "authority.pem", "web")
