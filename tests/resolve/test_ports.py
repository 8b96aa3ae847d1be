"""Ports of sandboxes on this host."""

import pytest

from sandboxfile.model.desired import Port


def test_ports_are_on_this_host_alone_unless_there_is_an_address_and_sorted(host):
    text = "sandboxes: {web: {ports: ['9000:90', '[::1]:8080:81', {host: 8080, guest: 80, address: 192.0.2.1}]}}"
    assert host.only(text).ports == (Port(8080, 80, "192.0.2.1"), Port(8080, 81, "::1"), Port(9000, 90))


def test_those_of_a_sandbox_are_over_those_of_the_defaults_on_one_address_and_port(host):
    text = "defaults: {ports: ['8080:80', '9000:90']}\nsandboxes: {web: {ports: ['8080:81', '127.0.0.2:9000:91']}}"
    assert host.only(text).ports == (Port(8080, 81), Port(9000, 90), Port(9000, 91, "127.0.0.2"))


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("8080:80", "8080:81", True),
        ("8080:80", "127.0.0.1:8080:80", True),
        ("8080:80", "8081:80", False),
        ("127.0.0.2:8080:80", "8080:80", False),
        ("0.0.0.0:8080:80", "8080:80", True),
        ("8080:80", "0.0.0.0:8080:80", True),
        ("'[::]:8080:80'", "8080:80", True),
        ("'[::1]:8080:80'", "8080:80", False),
        ("'[::1]:8080:80'", "0.0.0.0:8080:80", False),
        ("'[::1]:8080:80'", "'[0:0::1]:8080:80'", True),
    ],
)
def test_one_port_of_this_host_leads_to_one_place(host, one, other, meet):
    expected = ["Port taken twice"] if meet else []
    assert host.summaries(f"sandboxes: {{a: {{ports: [{one}]}}, b: {{ports: [{other}]}}}}") == expected
    assert host.summaries(f"sandboxes: {{a: {{ports: [{one}, {other}]}}}}") == expected


def test_a_port_of_the_defaults_is_for_one_sandbox(host):
    text = "defaults: {{ports: ['8080:80']}}\nsandboxes: {{a: {{}}, b: {}}}"
    assert host.summaries(text.format("{}")) == ["Port taken twice"]
    assert host.summaries(text.format("{ports: ['8080:81']}")) == ["Port taken twice"]
