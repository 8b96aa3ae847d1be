"""Credentials in request heads, and what of responses may not repeat them; pure."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxfile.gateway.intercept.injecting import Injected, inject, needed
from sandboxfile.gateway.intercept.reading import Field
from sandboxfile.model.credential import Credential, Injection, SecretSource
from sandboxfile.policy.bindings import Bindings

HOST = "api.example.com"
SECRET = "the-real+value/="
QUOTED = b"the-real%2Bvalue%2F%3D"
PLACEHOLDER = "sk-placeholder-0123"
SENT = PLACEHOLDER.encode()


def held(*injections: Injection, name: str = "tracker", placeholder: str = PLACEHOLDER) -> Credential:
    return Credential(name, SecretSource("env", "X"), injections, "X", placeholder)


def header(name: str = "X-Api-Key", **fields: Any) -> Injection:
    return Injection(HOST, name=name, **fields)


def injected(
    *credentials: Credential, fields: tuple[Field, ...] = (), path: bytes = b"/v1", http2: bool = False, **values: str
) -> Injected:
    """What becomes of a request when the gateway has all values it needs, SECRET unless told otherwise."""
    bindings = Bindings(credentials).applying(HOST, 443, "/v1")
    found = {each.name: values.get(each.name, SECRET) for each in needed(bindings, fields, path)}
    return inject(bindings, fields, path, found, http2=http2)


def basic(text: str) -> bytes:
    return b"Basic " + base64.b64encode(text.encode())


# --- headers ---------------------------------------------------------------------------------------------------------


def test_a_header_is_set_and_every_one_of_its_name_goes() -> None:
    sent = ((b"X-API-KEY", b"mine"), (b"Accept", b"*/*"), (b"x-api-key", SENT), (b"X-Api-Key", b""))
    found = injected(held(header()), fields=sent)
    assert found.fields == ((b"Accept", b"*/*"), (b"X-Api-Key", SECRET.encode()))
    assert found.names == ("tracker",)


def test_http2_gets_the_name_in_small_letters() -> None:
    assert injected(held(header()), http2=True).fields == ((b"x-api-key", SECRET.encode()),)


def test_headers_by_which_the_service_knows_somebody_else_are_dropped() -> None:
    sent = ((b"AUTHORIZATION", b"Bearer other"), (b"Accept", b"*/*"))
    found = injected(held(header(drops=("authorization",))), fields=sent)
    assert found.fields == ((b"Accept", b"*/*"), (b"X-Api-Key", SECRET.encode()))


def test_what_one_credential_drops_another_may_set() -> None:
    found = injected(
        held(header("Authorization", value="Bearer {secret}"), name="a"),
        held(header(drops=("authorization",)), name="b"),
        fields=((b"authorization", b"mine"),),
    )
    assert found.fields == ((b"Authorization", b"Bearer the-real+value/="), (b"X-Api-Key", SECRET.encode()))
    assert found.names == ("a", "b")


def test_basic_is_encoded() -> None:
    found = injected(held(header("Authorization", value="deploy:{secret}", basic=True)))
    assert found.fields == ((b"Authorization", basic(f"deploy:{SECRET}")),)


def test_a_value_beyond_ascii_is_sent_as_utf8() -> None:
    assert injected(held(header()), tracker="pässwort").fields == ((b"X-Api-Key", "pässwort".encode()),)


# --- placeholders ----------------------------------------------------------------------------------------------------


def test_a_placeholder_becomes_the_value_of_a_header_for_credentials() -> None:
    sent = ((b"Authorization", b"token " + SENT), (b"X-Api-Key", SENT), (b"PRIVATE-TOKEN", SENT))
    found = injected(held(Injection(HOST)), fields=sent)
    assert [value for _, value in found.fields] == [b"token the-real+value/=", SECRET.encode(), SECRET.encode()]


# What a server does not understand it quotes, and what it quotes a guest can read.
ORACLES = (
    (b"Anthropic-Beta", SENT),
    (b"OpenAI-Organization", SENT),
    (b"X-GitHub-Api-Version", SENT),
    (b"Accept", SENT),
    (b"Cookie", b"a=" + SENT),
    (b"Authorization", b"Bearer x" + SENT),
    (b"Authorization", b"Bearer " + SENT + b", b"),
    (b"Authorization", b"Basic " + base64.b64encode(b"user:x" + SENT)),
)


@pytest.mark.parametrize("sent", ORACLES, ids=lambda field: field[0].decode())
def test_anywhere_else_a_placeholder_stays_one(sent: Field) -> None:
    assert needed(Bindings([held(Injection(HOST))]).applying(HOST, 443, "/v1"), (sent,), b"/v1") == ()
    other = (b"X-Api-Key", SENT)
    assert injected(held(Injection(HOST)), fields=(sent, other)).fields[0] == sent


@pytest.mark.parametrize("query", [SENT + b"=1", b"a=x" + SENT, b"a=1&" + SENT, b"a=" + SENT + b"1"])
def test_in_the_query_it_becomes_the_whole_value_of_a_parameter_or_nothing(query: bytes) -> None:
    found = injected(held(Injection(HOST)), path=b"/v1?key=" + SENT + b"&" + query)
    assert found.path == b"/v1?key=" + QUOTED + b"&" + query


def test_where_a_header_is_set_its_placeholder_is_swapped_nowhere_else() -> None:
    sent = ((b"X-Other-Key", SENT), (b"Authorization", b"Bearer " + SENT))
    found = injected(held(header(drops=("authorization",))), fields=sent, path=b"/v1?key=" + SENT)
    assert found.fields == ((b"X-Other-Key", SENT), (b"X-Api-Key", SECRET.encode()))
    assert found.path == b"/v1?key=" + SENT


@pytest.mark.parametrize("scheme", [b"Basic", b"basic", b"BASIC "])
def test_a_placeholder_within_basic_authorization_becomes_the_value(scheme: bytes) -> None:
    sent = ((b"authorization", scheme + b" " + base64.b64encode(b"x-access-token:" + SENT)),)
    assert injected(held(Injection(HOST)), fields=sent).fields == (
        (b"authorization", basic(f"x-access-token:{SECRET}")),
    )


@pytest.mark.parametrize(
    "value", [b"Basic", b"Basic !!!", b"Basic YWJj YWJj", b"Basic YWJ", b"Bearer YWJj", basic("a:b")]
)
def test_other_authorization_stays_byte_for_byte(value: bytes) -> None:
    found = injected(held(Injection(HOST), header("X-Other")), fields=((b"Authorization", value),))
    assert found.fields[0] == (b"Authorization", value)


def test_a_placeholder_in_the_query_becomes_the_value_and_all_else_stays() -> None:
    path = b"/v1/" + SENT + b"?a=%41&key=" + SENT + b"&&b&x=" + SENT
    found = injected(held(Injection(HOST)), path=path)
    assert found.path == b"/v1/" + SENT + b"?a=%41&key=" + QUOTED + b"&&b&x=" + QUOTED


def test_a_placeholder_that_needs_quoting_is_found_in_either_form() -> None:
    found = injected(held(Injection(HOST), placeholder="a b/c"), path=b"/v1?x=a%20b%2Fc")
    assert found.path == b"/v1?x=" + QUOTED


def test_nothing_is_looked_for_in_what_was_put_in() -> None:
    found = injected(
        held(Injection(HOST), name="a", placeholder="first-placeholder"),
        held(Injection(HOST), name="b", placeholder="second-placeholder"),
        fields=((b"X-Key", b"first-placeholder"), (b"X-Token", b"second-placeholder")),
        a="second-placeholder",
        b="first-placeholder",
    )
    assert found.fields == ((b"X-Key", b"second-placeholder"), (b"X-Token", b"first-placeholder"))


def test_of_two_placeholders_that_begin_alike_the_longer_counts() -> None:
    found = injected(
        held(Injection(HOST), name="a", placeholder="secret-1"),
        held(Injection(HOST), name="b", placeholder="secret-12"),
        fields=((b"X-Key", b"secret-12"), (b"X-Token", b"secret-1")),
        a="one",
        b="two",
    )
    assert found.fields == ((b"X-Key", b"two"), (b"X-Token", b"one"))


@pytest.mark.parametrize("name", [b"Host", b"Content-Length", b"Connection", b"Upgrade"])
def test_what_says_where_a_request_goes_or_ends_is_not_touched(name: bytes) -> None:
    bindings = Bindings([held(Injection(HOST))]).applying(HOST, 443, "/v1")
    assert needed(bindings, ((name, SENT),), b"/v1") == ()
    assert inject(bindings, ((name, SENT),), b"/v1", {"tracker": SECRET}, http2=False).fields == ((name, SENT),)


def test_a_value_is_needed_only_where_it_is_set_or_its_placeholder_is() -> None:
    bindings = Bindings([held(Injection(HOST)), held(header(), name="set")]).applying(HOST, 443, "/v1")
    assert [each.name for each in needed(bindings, ((b"X", b"nothing"),), b"/v1?a=b")] == ["set"]
    assert [each.name for each in needed(bindings, ((b"X-Key", SENT),), b"/v1")] == ["tracker", "set"]
    assert [each.name for each in needed(bindings, (), b"/" + SENT)] == ["set"]
    assert needed((), ((b"X-Key", SENT),), b"/v1") == ()


# --- the query -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/v1", b"/v1?key=" + QUOTED),
        (b"/v1?", b"/v1?key=" + QUOTED),
        (b"/v1?key=mine", b"/v1?key=" + QUOTED),
        (b"/v1?key=" + SENT, b"/v1?key=" + QUOTED),
        (b"/v1?a=1&key=mine&b=%20&k%65y=other&key", b"/v1?a=1&b=%20&key=" + QUOTED),
        (b"/v1?keys=1&KEY=2&x?y", b"/v1?keys=1&KEY=2&x?y&key=" + QUOTED),
        (b"*", b"*"),
    ],
)
def test_a_parameter_is_set_once(path: bytes, expected: bytes) -> None:
    assert injected(held(Injection(HOST, kind="query", name="key")), path=path).path == expected


def test_a_query_is_left_as_it_is_when_only_headers_are_set() -> None:
    for path in (b"/v1", b"/v1?", b"/v1?&&a=%zz&"):
        assert injected(held(header()), path=path).path == path


# --- what comes back -------------------------------------------------------------------------------------------------


def test_what_a_response_repeats_of_a_value_is_taken_out_of_its_head() -> None:
    found = injected(
        held(header()), held(header("Authorization", value="u:{secret}", basic=True), name="b", placeholder="")
    )
    code = basic(f"u:{SECRET}")
    repeated = (
        (b"Location", b"/v2?key=" + QUOTED),
        (b"X-Echo", SECRET.encode() + b", " + code),
        (b"Content-Length", b"5"),
        (b"Set-Cookie", b"session=1"),
    )
    seen = found.conceal_in(repeated)
    assert seen[2:] == repeated[2:]
    text = b"".join(value for _, value in seen)
    assert SECRET.encode() not in text
    assert QUOTED not in text
    assert code.partition(b" ")[2] not in text
    assert found.conceal(b"OK " + SECRET.encode()) != b"OK " + SECRET.encode()


def test_swapped_basic_authorization_does_not_come_back() -> None:
    found = injected(held(Injection(HOST)), fields=((b"Authorization", basic(f"u:{PLACEHOLDER}")),))
    code = base64.b64encode(f"u:{SECRET}".encode())
    assert code not in found.conceal(b"you sent Basic " + code)


def test_a_value_too_short_to_be_told_apart_breaks_no_response() -> None:
    found = injected(held(header()), tracker="20")
    assert found.conceal_in(((b"Age", b"1200"),)) == ((b"Age", b"1200"),)


def test_no_repr_shows_a_value() -> None:
    found = injected(held(header()), path=b"/v1?x=" + SENT, fields=((b"X", SENT),))
    assert SECRET not in repr(found)
    assert QUOTED.decode() not in repr(found)


# --- whatever a client sends -----------------------------------------------------------------------------------------

PIECES = st.sampled_from([SENT, b"Basic ", base64.b64encode(SENT), b"key=", b"&", b"=", b"?", b"%6b", b" ", b"x", b";"])
TEXT = st.lists(PIECES, max_size=8).map(b"".join)
NAMES = st.sampled_from([b"Authorization", b"x-api-KEY", b"X-Api-Key", b"Cookie", b"Host", b"Accept"])


@given(st.lists(st.tuples(NAMES, TEXT), max_size=6), TEXT)
def test_whatever_a_client_sends_one_line_each_is_what_goes_out(fields: list[Field], query: bytes) -> None:
    credential = held(header(), Injection(HOST, kind="query", name="key"))
    found = injected(credential, fields=tuple(fields), path=b"/v1?" + query.replace(b" ", b""))
    assert [value for name, value in found.fields if name.lower() == b"x-api-key"] == [SECRET.encode()]
    assert found.path.startswith(b"/v1?")
    assert found.path.endswith(b"key=" + QUOTED)
    assert found.path.count(b"key=" + QUOTED) >= 1
    assert b" " not in found.path
    assert not any(char in value for _, value in found.fields for char in b"\r\n\0")
    kept = [name for name, _ in found.fields if name.lower() != b"x-api-key"]
    assert kept == [name for name, _ in fields if name.lower() != b"x-api-key"]
