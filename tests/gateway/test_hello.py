"""TLS hellos: the server name of real clients is found however the bytes are cut, and nothing doubtful is accepted."""

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxfile.gateway.hello import LIMIT, Hello, NotTLS, looks_like_tls, parse_hello


def extension(kind: int, content: bytes) -> bytes:
    return kind.to_bytes(2) + len(content).to_bytes(2) + content


def names(*found: bytes, kind: int = 0) -> bytes:
    entries = b"".join(bytes([kind]) + len(name).to_bytes(2) + name for name in found)
    return extension(0, len(entries).to_bytes(2) + entries)


def message(extensions: bytes | None) -> bytes:
    body = b"\3\3" + bytes(32) + b"\0" + b"\0\2\x13\1" + b"\1\0"
    if extensions is not None:
        body += len(extensions).to_bytes(2) + extensions
    return b"\1" + len(body).to_bytes(3) + body


def records(data: bytes, size: int = 1 << 14) -> bytes:
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"\x16\3\1" + len(part).to_bytes(2) + part for part in parts)


@pytest.mark.parametrize("name", ["api.example.com", None])
def test_the_name_in_the_hello_of_a_real_client_is_found(hello: Callable[..., bytes], name: str | None) -> None:
    data = hello(name)
    assert looks_like_tls(data)
    assert parse_hello(data + b"what follows") == Hello(name)
    for end in range(len(data)):
        assert parse_hello(data[:end]) is None


@pytest.mark.parametrize("size", [1, 3, 50])
def test_a_hello_may_span_many_records(size: int) -> None:
    assert parse_hello(records(message(names(b"a.example.com")), size)) == Hello("a.example.com")


def test_a_hello_without_extensions_names_nobody() -> None:
    assert parse_hello(records(message(None))) == Hello(None)
    assert parse_hello(records(message(b""))) == Hello(None)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x15\3\1\0\2\2\x28",
        b"\x16\2\0\0\5hello",
        b"\x16\3\1\0\0",
        b"\x16\3\1\x40\1",
        b"\x16\3\1\0\4\2\0\0\0",
        records(message(names(b"a.example.com", b"b.example.com"))),
        records(message(names(b"a.example.com") + names(b"b.example.com"))),
        records(message(names(b"a.example.com", kind=1))),
        records(message(names(b"\xff.example.com"))),
        records(message(extension(0, b"\0\x10\0\0"))),
        records(message(b"\0\0\0")),
        records(b"\1\0\0\3\3\3\0"),
        b"\x16\3\1\0\1\1" * (LIMIT // 6 + 1),
    ],
)
def test_what_is_malformed_or_ambiguous_is_refused(data: bytes) -> None:
    with pytest.raises(NotTLS):
        parse_hello(data)


@given(st.binary(max_size=300), st.sampled_from([b"", b"\x16\3\1\0\x40", b"\x16\3\1\1\0\1\0\0\xfc\3\3" + bytes(32)]))
def test_any_bytes_are_a_hello_or_none_or_not_enough(data: bytes, start: bytes) -> None:
    try:
        found = parse_hello(start + data)
    except NotTLS:
        return
    assert found is None or found.name is None or found.name.isascii()


@given(st.data())
def test_a_hello_that_was_tampered_with_never_gives_another_error(data: st.DataObject) -> None:
    whole = bytearray(records(message(names(b"api.example.com"))))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(NotTLS):
        parse_hello(bytes(whole))
