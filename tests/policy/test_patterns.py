"""Host names and patterns: one spelling each, everything else refused."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxfile.policy.patterns import Pattern, PatternProblem, canonical_host, literal, parse_pattern


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("example.com", "example.com"),
        ("EXAMPLE.com.", "example.com"),
        ("_dmarc.example.com", "_dmarc.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("b\u0075\u0308cher.example", "xn--bcher-kva.example"),
        ("ex\u00adample.com", "example.com"),
        ("1.2.3.4.example.com", "1.2.3.4.example.com"),
        ("0x7f.com", "0x7f.com"),
        ("123.example", "123.example"),
        ("localhost", "localhost"),
        ("LOCALHOST.", "localhost"),
        ("host.docker.internal", "localhost"),
        ("foo.localhost", "foo.localhost"),
        ("127.0.0.1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("0X7F.0.0.1.", "127.0.0.1"),
        ("0x", "0.0.0.0"),
        ("010", "0.0.0.8"),
        ("255.255.65535", "255.255.255.255"),
        ("4294967295", "255.255.255.255"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("::FFFF:102:304", "1.2.3.4"),
        ("::1.2.3.4", "1.2.3.4"),
        ("[2001:DB8:0:0:0:0:0:1]", "2001:db8::1"),
        ("::", "::"),
        ("[::1]", "::1"),
        ("64:ff9b::1.2.3.4", "64:ff9b::102:304"),
        ("\uff11\uff12\uff17.1", "127.0.0.1"),
        ("127\u30020\uff0e0\uff611", "127.0.0.1"),
    ],
)
def test_a_host_has_one_spelling(text, canonical):
    assert canonical_host(text) == canonical


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "..", "a..b", ".a", "a.com..", " a.com", "a.com ", "a b", "a\tb", "a\nb", "a\0b", "a\u200bb c"),
        *(
            "user@a.com",
            "a.com/x",
            "a.com:443",
            "a.com?x",
            "a.com#x",
            "a%2ecom",
            "a\\b",
            "*.a.com",
            "-a.com",
            "a.-b.com",
        ),
        *("1.2.3.256", "256.256.256.256", "4294967296", "1.2.3.4.5", "1..2", "foo.123", "foo.0x1f", "09", "1.2.3.08"),
        *("0x100000000", "1.2.3.0xg1.4", "a.com.1"),
        *(
            "[::1",
            "::1]",
            "[127.0.0.1]",
            "fe80::1%eth0",
            "fe80::1%25eth0",
            ":::",
            "1:2",
            "::1.",
            "12345::",
            "[]",
            "::1/128",
        ),
        *("a" * 64 + ".com", "a." * 127 + "com", "a" * 2000, "\u2100.com", "\ud800.com", "\u202ecom.a", "ü" * 300),
        "xn--\u00fc.com",
    ],
)
def test_what_is_no_host_is_refused(text):
    assert canonical_host(text) is None


@given(st.text(max_size=80) | st.text("0123456789abcdefx.:[]%-_*ü。", max_size=40))
def test_a_canonical_host_is_its_own_spelling(text):
    host = canonical_host(text)
    if host is not None:
        assert canonical_host(host) == host
        assert canonical_host(host.upper()) == host
        assert host.isascii()
        assert host.isprintable()
        assert len(host) <= 253
        literal(host)


@given(st.ip_addresses())
def test_every_address_is_a_literal_host(address):
    host = canonical_host(str(address))
    assert host is not None
    found = literal(host)
    assert found == address or found == ip_address(int(address) % 2**32)


@pytest.mark.parametrize("host", ["example.com", "1.2.3.4.example.com", "localhost", "a1", "", "1.2.3.4.5", "a:443"])
def test_a_name_is_no_literal(host):
    assert literal(host) is None


@pytest.mark.parametrize(
    ("text", "kind", "canonical"),
    [
        ("Example.COM.", "host", "example.com"),
        ("example.com:443", "host", "example.com:443"),
        ("bücher.example:443", "host", "xn--bcher-kva.example:443"),
        ("host.docker.internal:80", "host", "localhost:80"),
        ("*.Example.com", "wildcard", "*.example.com"),
        ("*.example.com.:443", "wildcard", "*.example.com:443"),
        ("**.example.com", "deep", "**.example.com"),
        ("**.example.com:1", "deep", "**.example.com:1"),
        ("*", "any", "*"),
        ("*:65535", "any", "*:65535"),
        ("0x7f.1", "host", "127.0.0.1"),
        ("2130706433:80", "host", "127.0.0.1:80"),
        ("2001:DB8::1", "host", "2001:db8::1"),
        ("[2001:db8::1]", "host", "2001:db8::1"),
        ("[2001:db8::1]:443", "host", "[2001:db8::1]:443"),
        ("[::ffff:1.2.3.4]:443", "host", "1.2.3.4:443"),
        ("203.0.113.0/24", "range", "203.0.113.0/24"),
        ("203.0.113.5/32", "range", "203.0.113.5/32"),
        ("0.0.0.0/0", "range", "0.0.0.0/0"),
        ("2001:DB8::/32", "range", "2001:db8::/32"),
        ("[2001:db8::]/32", "range", "2001:db8::/32"),
        ("::ffff:10.0.0.0/104", "range", "10.0.0.0/8"),
    ],
)
def test_a_pattern_has_one_spelling_that_reads_the_same(text, kind, canonical):
    pattern = parse_pattern(text)
    assert isinstance(pattern, Pattern), pattern
    assert (pattern.kind, pattern.text) == (kind, canonical)
    assert parse_pattern(canonical) == pattern


@pytest.mark.parametrize(
    ("text", "summary", "hint"),
    [
        ("http://example.com/x", "A pattern is not a URL", "example.com"),
        ("https://user:pw@example.com:8443/x?y", "A pattern is not a URL", "example.com:8443"),
        ("http://", "A pattern is not a URL", "api.example.com"),
        ("example.com/path", "A host pattern has no path", 'paths: ["/path"]'),
        ("*.*.example.com", "Misplaced wildcard", '"*.example.com"'),
        ("example.*", "Misplaced wildcard", '"*"'),
        ("a*.example.com", "Misplaced wildcard", '"*.example.com"'),
        ("**", "Misplaced wildcard", '"*"'),
        ("***.example.com", "Misplaced wildcard", '"**.example.com"'),
        ("*.1.2.3.4", "Wildcard of what has no subdomains", "1.2.3.4"),
        ("*.localhost:80", "Wildcard of what has no subdomains", "localhost:80"),
        ("example.com:0", "Invalid port", '"example.com"'),
        ("example.com:65536", "Invalid port", '"example.com"'),
        ("example.com:0443", "Invalid port", '"example.com"'),
        ("example.com:", "Invalid port", '"example.com"'),
        ("example.com:https", "Invalid port", '"example.com"'),
        ("*:*", "Invalid port", '"*"'),
        ("example.com:80:443", "Invalid host name", "api.example.com"),
        ("", "Invalid host name", "api.example.com"),
        ("a b", "Invalid host name", "api.example.com"),
        ("[::1]443", "Invalid host name", "api.example.com"),
        ("*.", "Invalid host name", "api.example.com"),
        ("1.2.3.256", "Invalid host name", "api.example.com"),
        ("10.0.0.1/8", "Range with host bits", '"10.0.0.0/8"'),
        ("2001:db8::1/32", "Range with host bits", '"2001:db8::/32"'),
        ("10.0.0.0/33", "Invalid range of addresses", "203.0.113.0/24"),
        ("10.0.0.0/255.0.0.0", "Invalid range of addresses", "203.0.113.0/24"),
        ("10.0.0.0/8:443", "Invalid range of addresses", "203.0.113.0/24"),
        ("10.0.0.0/", "Invalid range of addresses", "203.0.113.0/24"),
        ("10/8", "Invalid range of addresses", "203.0.113.0/24"),
    ],
)
def test_what_is_no_pattern_is_refused_with_what_to_write(text, summary, hint):
    problem = parse_pattern(text)
    assert isinstance(problem, PatternProblem), problem
    assert problem.summary == summary
    assert hint in problem.hint
    assert f'"{text}"' in problem.detail


@given(st.text(max_size=60) | st.text("*.:/[]0123456789abx", max_size=30))
def test_every_text_is_a_pattern_or_a_problem(text):
    parsed = parse_pattern(text)
    if isinstance(parsed, Pattern):
        assert parse_pattern(parsed.text) == parsed
    else:
        assert (parsed.detail + parsed.hint).isprintable()
