"""Keys for the conversation with one guest: made in memory at each start of a machine, never written to a disk."""

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat


@dataclass(frozen=True, slots=True)
class Keys:
    """OpenSSH texts. The guest is given `host_private` and `client_public`; we keep the other two."""

    host_private: str = field(repr=False)
    host_public: str
    client_private: str = field(repr=False)
    client_public: str


def make_keys() -> Keys:
    """Two fresh ed25519 pairs. Takes 0.03 s, most of it the library's import; asyncssh's own takes 0.25 s."""
    return Keys(*_pair(), *_pair())


def _pair() -> tuple[str, str]:
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    return private.decode(), key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
