"""Traps notice whoever comes, and a test that relies on an untouched one cannot pass by a deaf one."""

import socket

import pytest

from .traps import addresses


def test_a_tcp_contact_is_recorded_with_its_first_words(traps):
    trap, other = traps.tcp(), traps.tcp()
    with socket.create_connection(trap.address) as client:
        client.sendall(b"hello")
        with pytest.raises(AssertionError, match="hello"):
            _until(trap)
    other.assert_untouched()


def test_a_datagram_is_recorded(traps):
    trap = traps.udp()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"question", trap.address)
        with pytest.raises(AssertionError, match="question"):
            _until(trap)


def test_a_connection_that_says_nothing_counts_too(traps):
    trap = traps.tcp("::1")
    socket.create_connection(trap.address[:2]).close()
    with pytest.raises(AssertionError, match="was reached"):
        _until(trap)


def test_unix_sockets_are_watched_as_well(traps, clean_home):
    path = clean_home / "trap"
    for trap, name in ((traps.unix(path), str(path)), (traps.abstract(f"trap-{path.parent.name}"), None)):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(name or trap.address)
            client.sendall(b"hello")
            with pytest.raises(AssertionError, match="hello"):
                _until(trap)


def test_untouched_traps_are_shown_to_be_awake_and_stay_usable(traps, clean_home):
    made = [traps.tcp(), traps.udp(), traps.unix(clean_home / "trap"), traps.abstract(f"trap-{clean_home.name}")]
    made += [traps.tcp(address) for address in addresses()]
    made += [trap] if (trap := traps.vsock()) else []
    traps.assert_untouched()
    traps.assert_untouched()
    assert traps.all == made


def test_a_trap_that_hears_nobody_is_a_failure(traps, monkeypatch):
    trap = traps.tcp()
    monkeypatch.setattr("tests.egress.traps._PATIENCE", 0.2)
    monkeypatch.setattr(trap, "_knock", lambda: None)
    with pytest.raises(AssertionError, match="hears nobody"):
        trap.assert_untouched()


def _until(trap):
    """Ask until the contact was noticed."""
    while not trap.contacts:
        with trap._heard:
            trap._heard.wait(5)
    trap.assert_untouched()
