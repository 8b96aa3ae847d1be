"""The configuration, read back by a real shell."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxfile.guest.config import PATH, PORTS, GuestConfig, encode

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn\n-----END OPENSSH PRIVATE KEY-----\n"
CONFIG = GuestConfig("web", KEY, "ssh-ed25519 AAAA sandboxfile\n")
NAMES = ("sbx_hostname", "sbx_host_key", "sbx_client_key", "sbx_path", "sbx_ports")


def as_read(config):
    """The values that a shell has after sourcing the configuration."""
    script = encode(config) + b"printf '%s\\0' " + b" ".join(b'"$' + name.encode() + b'"' for name in NAMES)
    printed = subprocess.run(["sh"], input=script, capture_output=True, check=True).stdout
    return printed.decode().split("\0")[:-1]


def test_the_guest_reads_what_was_written():
    assert as_read(CONFIG) == ["web", KEY.strip(), "ssh-ed25519 AAAA sandboxfile", PATH, " ".join(PORTS)]


@given(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1))
def test_no_value_is_executed(text):
    config = GuestConfig(text, KEY, f"ssh-ed25519 AAAA {text}")
    assert as_read(config)[0] == text


@pytest.mark.parametrize(
    "config",
    [
        GuestConfig("", KEY, "ssh-ed25519 AAAA"),
        GuestConfig("a\nb", KEY, "ssh-ed25519 AAAA"),
        GuestConfig("a", KEY, "ssh-ed25519 AAAA\nssh-ed25519 BBBB"),
        GuestConfig("a", KEY, "ssh-ed25519 AAAA", "/bin\nPermitRootLogin yes"),
        GuestConfig("a", KEY, "ssh-ed25519 AAAA", '/bin" AcceptEnv "'),
    ],
)
def test_values_that_would_become_more_than_one_are_refused(config):
    with pytest.raises(ValueError, match=r"control characters|cannot quote"):
        encode(config)
