"""Request heads: what is refused, and what is read of the rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxfile.gateway.intercept.reading import (
    LIMIT,
    Malformed,
    Place,
    check_http2,
    decided_path,
    head_end,
    parse_head,
    place_of,
)

GOOD = b"GET /a?b HTTP/1.1\r\nHost: api.example.com\r\nAccept: */*\r\n\r\n"


def test_a_plain_head_is_read() -> None:
    head = parse_head(GOOD)
    assert (head.method, head.path, head.version, head.length) == (b"GET", b"/a?b", b"HTTP/1.1", 0)
    assert head.fields == ((b"Host", b"api.example.com"), (b"Accept", b"*/*"))


@pytest.mark.parametrize(
    ("head", "length"),
    [
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", 5),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n", None),
    ],
)
def test_the_length_of_a_body_is_read(head: bytes, length: int | None) -> None:
    assert parse_head(head).length == length


def test_a_whole_url_is_taken_apart() -> None:
    head = parse_head(b"GET HTTP://api.example.com:8080?x HTTP/1.1\r\n\r\n")
    assert (head.scheme, head.authority, head.path) == (b"http", b"api.example.com:8080", b"/?x")


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 05\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: \r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 0x5\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 9999999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length : 5\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding:\x0bchunked\r\n\r\n",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\nX\r\n\r\n",
        b"GET / HTTP/1.1\r\n: x\r\n\r\n",
        b"GET  / HTTP/1.1\r\n\r\n",
        b"GET /a b HTTP/1.1\r\n\r\n",
        b"GET /a\tb HTTP/1.1\r\n\r\n",
        b"GET /#a HTTP/1.1\r\n\r\n",
        b"GET a HTTP/1.1\r\n\r\n",
        b"GET * HTTP/1.1\r\n\r\n",
        b"GET ftp://a/ HTTP/1.1\r\n\r\n",
        b"GET http://user@a/ HTTP/1.1\r\n\r\n",
        b"GET http:///a HTTP/1.1\r\n\r\n",
        b"get / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/2.0\r\n\r\n",
        b"GET / HTTP/1.1 \r\n\r\n",
        b"GET /\r\n\r\n",
        b"\r\nGET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 300 + b"\r\n",
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(head: bytes) -> None:
    with pytest.raises(Malformed):
        parse_head(head)


def test_a_head_in_pieces_is_waited_for() -> None:
    assert [head_end(GOOD[:size]) for size in range(len(GOOD))] == [0] * len(GOOD)
    assert head_end(GOOD + b"more") == len(GOOD)


@pytest.mark.parametrize(
    "data",
    [b"SSH-2.0-client\r\n", b"\x00\x01", b"{}", b"EHLO me\r\n", b"GET / HTTP/1.1\nHost", b"A" * LIMIT, b"\r\n", b"\n"],
)
def test_what_is_no_http_is_refused_before_its_end(data: bytes) -> None:
    with pytest.raises(Malformed):
        head_end(data)


@given(st.binary(max_size=200))
def test_whatever_is_read_begins_with_one_proper_line(data: bytes) -> None:
    raw = b"GET /" + data + b"\r\n\r\n"
    try:
        head = parse_head(raw)
    except Malformed:
        return
    lines = raw[:-4].split(b"\r\n")
    assert lines[0] == b" ".join((head.method, head.path, head.version))
    assert len(head.fields) == len(lines) - 1
    assert b"\n" not in b"".join(name + value for name, value in head.fields)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("API.example.com", Place("api.example.com", 443, "https")),
        ("api.example.com.:8443", Place("api.example.com", 8443, "https")),
        ("[::1]:443", Place("::1", 443, "https")),
        ("[::ffff:127.0.0.1]", Place("127.0.0.1", 443, "https")),
        ("2130706433", Place("127.0.0.1", 443, "https")),
        ("a:0", None),
        ("a:65536", None),
        ("a:b", None),
        ("a:80:80", None),
        ("user@a", None),
        ("a b", None),
        ("", None),
    ],
)
def test_an_authority_means_one_place_or_none(text: str, place: Place | None) -> None:
    assert place_of(text, "https") == place


@pytest.mark.parametrize(
    ("path", "method", "fields"),
    [
        (b"/a b", b"GET", []),
        (b"", b"GET", []),
        (b"a", b"GET", []),
        (b"/", b"get", []),
        (b"/", b"GET", [(b"transfer-encoding", b"chunked")]),
        (b"/", b"GET", [(b"x", b"a\rb")]),
        (b"/", b"GET", [(b"x y", b"a")]),
        (b"/", b"POST", [(b"content-length", b"1"), (b"content-length", b"2")]),
    ],
)
def test_http2_is_held_to_the_same(path: bytes, method: bytes, fields: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(Malformed):
        check_http2(path, method, fields)


def test_the_policy_sees_ascii_without_the_query() -> None:
    assert decided_path("/ä/%2e?b=/c".encode()) == "/%C3%A4/%2e"
