"""What a boot writes into a root is taken out again, to the byte, and nothing else is."""

import json

import pytest

from sandboxfile.guest.cleaning import cleaned, is_dropped, is_link_to_authority
from sandboxfile.guest.config import MARK

BODY = "MIIB" + "A" * 60
OURS = f"-----BEGIN CERTIFICATE-----\n{BODY}\nAAAA\n-----END CERTIFICATE-----\n"
OTHER = "-----BEGIN CERTIFICATE-----\nMIICother\n-----END CERTIFICATE-----\n"
EARLIER = f"{MARK} 0a1b2c3d 99\n-----BEGIN CERTIFICATE-----\nMIICearlier\n-----END CERTIFICATE-----\n"
BUNDLE = "etc/ssl/certs/ca-certificates.crt"


def clean(path, text):
    return cleaned(path, text.encode(), OURS).decode()


def test_hosts_lose_the_machines_own_lines():
    text = "127.0.0.1 localhost\n10.1.2.3 db\n"
    assert clean("etc/hosts", f"{text}127.0.1.1 web\n10.0.2.2 host.docker.internal\n") == text
    assert clean("etc/hosts", text) == text


def test_environment_loses_our_blocks_and_keeps_the_rest():
    block = "# begin of sandboxfile 123\nHTTP_PROXY=x\n# end of sandboxfile\n"
    assert clean("etc/environment", f"{block}EDITOR=vim\n{block}LANG=C\n") == "EDITOR=vim\nLANG=C\n"
    assert clean("etc/environment", block) == ""


def test_an_environment_block_that_nobody_closed_was_not_written_by_us():
    text = "# begin of sandboxfile 123\nEDITOR=vim\n"
    assert clean("etc/environment", text) == text


@pytest.mark.parametrize("added", [f"{MARK} 0a1b2c3d 12\n{OURS}", OURS, EARLIER])
def test_bundles_lose_certificates_of_sandboxes_however_they_came_in(added):
    assert clean(BUNDLE, OTHER + added) == OTHER
    assert clean("etc/pki/elsewhere.pem", added + OTHER) == OTHER


def test_a_bundle_that_a_boot_made_has_nothing_left():
    assert clean(BUNDLE, f"{MARK} 0a1b2c3d 12\n{OURS}") == ""


def test_docker_loses_our_proxies_and_keeps_other_settings():
    ours = {"proxies": {"default": {"httpProxy": "http://10.0.2.2:3128"}}}
    path = "home/agent/.docker/config.json"
    assert clean(path, json.dumps(ours)) == ""
    assert json.loads(clean(path, json.dumps(ours | {"psFormat": "x"}))) == {"psFormat": "x"}
    own = json.dumps({"proxies": {"default": {"httpProxy": "http://proxy.example.com"}}})
    assert clean(path, own) == own
    assert clean(path, "no JSON") == "no JSON"


@pytest.mark.parametrize(
    ("path", "dropped"),
    [
        ("etc/machine-id", True),
        ("etc/apt/apt.conf.d/90sandboxfile", True),
        ("etc/apt/apt.conf.d/90other", False),
        ("tmp", False),
        ("tmp/x/y", True),
        ("run", False),
        ("runner/x", False),
        ("var/lib/docker", False),
        ("var/lib/docker/overlay2", True),
        ("usr/local/share/ca-certificates/sandboxfile.crt", True),
        ("usr/local/share/ca-certificates/team.crt", False),
    ],
)
def test_what_never_gets_into_an_image(path, dropped):
    assert is_dropped(path) == dropped


def test_links_by_which_the_authority_is_found():
    assert is_link_to_authority("etc/ssl/certs/0a1b2c3d.0", "sandboxfile.pem")
    assert not is_link_to_authority("etc/ssl/certs/0a1b2c3d.0", "Root.pem")
    assert not is_link_to_authority("etc/ssl/certs/sandboxfile", "sandboxfile.pem")
