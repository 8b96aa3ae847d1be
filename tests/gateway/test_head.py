"""CONNECT heads are read in one way or not at all."""

import pytest

from sandboxfile.gateway.head import Connect, MalformedHead, is_connect, parse_connect, refusal


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("api.example.com:443", Connect("api.example.com", 443)),
        ("[2001:db8::1]:8443", Connect("2001:db8::1", 8443)),
        ("203.0.113.9:1", Connect("203.0.113.9", 1)),
    ],
)
def test_a_target_is_a_host_and_a_port(target: str, found: Connect) -> None:
    head = f"CONNECT {target} HTTP/1.1\r\nHost: other.example.com\r\n\r\n".encode()
    assert is_connect(head)
    assert parse_connect(head) == found


@pytest.mark.parametrize(
    "line",
    [
        b"CONNECT a.example.com:443",
        b"CONNECT a.example.com:443 HTTP/2.0",
        b"CONNECT  a.example.com:443 HTTP/1.1",
        b"CONNECT a.example.com HTTP/1.1",
        b"CONNECT :443 HTTP/1.1",
        b"CONNECT a.example.com: HTTP/1.1",
        b"CONNECT a.example.com:+443 HTTP/1.1",
        b"CONNECT a.example.com:0443443 HTTP/1.1",
        b"CONNECT a.example.com:65536 HTTP/1.1",
        b"CONNECT 2001:db8::1:443 HTTP/1.1",
        b"CONNECT a.example.com:443\tHTTP/1.1",
        b"CONNECT a.example.com:443 HTTP/1.1\nX",
        "CONNECT a.example.com:\uff14\uff14\uff13 HTTP/1.1".encode(),
    ],
)
def test_anything_doubtful_is_malformed(line: bytes) -> None:
    with pytest.raises(MalformedHead):
        parse_connect(line + b"\r\n\r\n")


def test_other_methods_and_spellings_are_no_connect() -> None:
    assert not is_connect(b"GET http://a.example.com/ HTTP/1.1\r\n\r\n")
    assert not is_connect(b"connect a.example.com:443 HTTP/1.1\r\n\r\n")


def test_a_refusal_is_a_whole_answer() -> None:
    answer = refusal(403, "Forbidden", "nön\n")
    head, body = answer.split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert body == "nön\n".encode()
