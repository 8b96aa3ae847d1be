"""Variables that tell programs inside of the proxy and the authority."""

import pytest

from sandboxfile.control.egress import PROXY_PORT
from sandboxfile.guest.network import (
    BUNDLE,
    CERTIFICATE,
    GATEWAY_ADDRESS,
    GUEST_ADDRESS,
    PROXY,
    environment_beneath,
    network_variables,
)
from sandboxfile.vm.machine import Descriptors, MachineSpec, qemu_arguments


def test_the_proxy_is_named_in_both_cases_and_nowhere_for_protocols_that_it_does_not_speak():
    variables = dict(network_variables())
    assert variables["http_proxy"] == variables["HTTPS_PROXY"] == variables["https_proxy"] == PROXY
    assert f":{PROXY_PORT}" in PROXY
    assert variables["NO_PROXY"] == variables["no_proxy"] == "localhost,127.0.0.1,::1"
    assert not {"ALL_PROXY", "all_proxy", "FTP_PROXY"} & set(variables)


def test_what_replaces_a_trust_store_names_the_whole_bundle_and_what_adds_to_it_our_certificate():
    files = {name: value for name, value in network_variables() if value.startswith("/")}
    assert files.pop("NODE_EXTRA_CA_CERTS") == CERTIFICATE
    assert set(files.values()) == {BUNDLE}
    assert {"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "GIT_SSL_CAINFO", "AWS_CA_BUNDLE"} <= set(files)


def test_settings_come_last_and_win():
    variables = network_variables([("PIP_INDEX_URL", "https://pypi.example.com/simple"), ("PIP_CERT", "/other")])
    assert dict(variables)["PIP_CERT"] == "/other"
    assert variables[-1] == ("PIP_INDEX_URL", "https://pypi.example.com/simple")


@pytest.mark.parametrize("setting", [("A B", "1"), ("", "1"), ("1A", "1"), ("A=B", "1"), ("A", "x\ny"), ("A", "\0")])
def test_a_setting_that_would_become_another_line_is_refused(setting):
    with pytest.raises(ValueError, match="cannot be a variable"):
        network_variables([setting])


def test_a_sandboxs_own_variables_win_in_whatever_case():
    own = [("NO_PROXY", "*"), ("GREETING", "hello"), ("SSL_CERT_FILE", "/own")]
    found = environment_beneath(own, [("PIP_INDEX_URL", "https://pypi.example.com"), ("greeting", "no")])
    variables = dict(found)
    assert len(found) == len(variables)
    assert [pair for pair in found if pair[0].lower() in ("no_proxy", "greeting", "ssl_cert_file")] == own
    assert variables["http_proxy"] == PROXY
    assert variables["PIP_INDEX_URL"] == "https://pypi.example.com"


def test_the_addresses_are_those_of_qemus_network():
    spec = MachineSpec(1, 1 << 20, "kvm", None, ())
    arguments = qemu_arguments(spec, Descriptors(qmp=3, console=4, ports=(), base=5, disk=6, tools=7))
    network = arguments[arguments.index("-netdev") + 1].split(",")
    assert f"host={GATEWAY_ADDRESS}" in network
    assert f"net={GUEST_ADDRESS.rpartition('.')[0]}.0/24" in network
