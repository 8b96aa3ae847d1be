"""The configuration, read back by a real shell."""

import subprocess
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxfile.guest.config import MARK, PATH, PORTS, GuestConfig, encode
from sandboxfile.guest.network import network_variables

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIBlDCCATmg\nAwIBAgIU\n-----END CERTIFICATE-----\n"
HASH = "284d3e03"
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn\n-----END OPENSSH PRIVATE KEY-----\n"
CONFIG = GuestConfig("web", KEY, "ssh-ed25519 AAAA sandboxfile\n", CERTIFICATE, HASH)
NAMES = ("sbx_hostname", "sbx_host_key", "sbx_client_key", "sbx_path", "sbx_ports")


def as_read(config, names=NAMES):
    """The values that a shell has after sourcing the configuration."""
    script = encode(config) + b"printf '%s\\0' " + b" ".join(b'"$' + name.encode() + b'"' for name in names)
    printed = subprocess.run(["sh"], input=script, capture_output=True, check=True).stdout
    return printed.decode().split("\0")[:-1]


def test_the_guest_reads_what_was_written():
    assert as_read(CONFIG) == ["web", KEY.strip(), "ssh-ed25519 AAAA sandboxfile", PATH, " ".join(PORTS)]


@pytest.mark.parametrize("docker", [False, True])
def test_a_docker_daemon_runs_only_where_it_is_asked_for(docker):
    assert as_read(replace(CONFIG, docker=docker), ("sbx_docker",)) == ["yes" if docker else ""]


@given(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"], exclude_characters="\x7f"), min_size=1))
def test_no_value_is_executed(text):
    config = GuestConfig(text, KEY, f"ssh-ed25519 AAAA {text}", CERTIFICATE, HASH, (("A", text),))
    name, exports = as_read(config, ("sbx_hostname", "sbx_exports"))
    assert name == text
    set_by_it = subprocess.run(["sh"], input=f'unset A\n{exports}\nprintf %s "$A"'.encode(), capture_output=True)
    assert set_by_it.stdout.decode() == text


@pytest.mark.parametrize(
    "config",
    [
        GuestConfig("", KEY, "ssh-ed25519 AAAA", CERTIFICATE, HASH),
        GuestConfig("a\nb", KEY, "ssh-ed25519 AAAA", CERTIFICATE, HASH),
        GuestConfig("a", KEY, "ssh-ed25519 AAAA\nssh-ed25519 BBBB", CERTIFICATE, HASH),
        GuestConfig("a", KEY, "ssh-ed25519 AAAA", CERTIFICATE, HASH, path="/bin\nPermitRootLogin yes"),
        GuestConfig("a", KEY, "ssh-ed25519 AAAA", CERTIFICATE, HASH, path='/bin" AcceptEnv "'),
    ],
)
def test_values_that_would_become_more_than_one_are_refused(config):
    with pytest.raises(ValueError, match=r"control characters|cannot quote"):
        encode(config)


@pytest.mark.parametrize(
    ("certificate", "subject"),
    [
        ("", HASH),
        ("no certificate", HASH),
        (CERTIFICATE + CERTIFICATE, HASH),
        (f"# {CERTIFICATE}", HASH),
        (CERTIFICATE.replace("MII", "M I"), HASH),
        (CERTIFICATE, ""),
        (CERTIFICATE, "284D3E03"),
        (CERTIFICATE, "../../x0"),
    ],
)
def test_only_one_certificate_and_a_hash_are_taken(certificate, subject):
    with pytest.raises(ValueError, match="no certificate, or its hash no hash"):
        encode(GuestConfig("a", KEY, "ssh-ed25519 AAAA", certificate, subject))


def test_the_certificate_begins_with_a_line_that_names_it_and_no_other():
    names = ("sbx_authority_mark", "sbx_authority")
    mark, text = as_read(CONFIG, names)
    assert text == f"{mark}\n{CERTIFICATE.strip()}"
    assert mark.startswith(f"{MARK} {HASH} ")
    other = as_read(GuestConfig("web", KEY, "k", CERTIFICATE.replace("MII", "MIJ"), HASH), names)
    assert other[0] != mark


def test_variables_are_told_in_full_but_to_the_file_that_cannot_quote():
    settings = (("PIP_INDEX_URL", "https://pypi.example.com/simple"), ("ODD", 'a "b" $c # `d`'))
    config = GuestConfig("web", KEY, "ssh-ed25519 AAAA", CERTIFICATE, HASH, settings)
    lines, exports, names = as_read(config, ("sbx_environment", "sbx_exports", "sbx_names"))
    variables = dict(network_variables(settings))
    assert names.split() == list(variables)
    assert dict(line.split("=", 1) for line in lines.splitlines()) == {k: v for k, v in variables.items() if k != "ODD"}
    script = f'NO_PROXY=mine\n{exports}\nprintf "%s\\n" "$ODD" "$NO_PROXY" "$PIP_INDEX_URL"'
    done = subprocess.run(["sh"], input=script, capture_output=True, text=True, env={})
    assert done.stdout.splitlines() == ['a "b" $c # `d`', "mine", "https://pypi.example.com/simple"]
    assert done.stderr == ""
