"""Whether a value is still the same, without keeping it: a salted one-way tag, new with every call."""

import hashlib
import hmac
import secrets

_SALT = 16  # bytes
_LENGTH = 32


def tag(value: str) -> str:
    """`SALT:DIGEST`, both hexadecimal. Two tags of one value are different."""
    salt = secrets.token_bytes(_SALT)
    return f"{salt.hex()}:{_digest(salt, value)}"


def matches(tag: str, value: str) -> bool:
    """Whether `tag` was made of this value; of what is no tag: no."""
    salt, _, digest = tag.partition(":")
    try:
        expected = _digest(bytes.fromhex(salt), value)
        return hmac.compare_digest(expected.encode(), digest.encode())
    except ValueError:
        return False


def _digest(salt: bytes, value: str) -> str:
    return hashlib.blake2b(value.encode(errors="surrogateescape"), key=salt, digest_size=_LENGTH).hexdigest()
