"""Every example and sentence of the source document about networks (S5), and of the language about policies: a table.

A row: the sentence, the policy, the target, the addresses that its name has, and what must come out.
"""

from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

import pytest

from sandboxfile.model.policy import NO_POLICY, Request, Rule

PUBLIC = ("93.184.216.34",)
PRIVATE = ("10.9.8.7",)


@dataclass(frozen=True)
class Row:
    sentence: str
    target: str | Request
    allowed: bool
    addresses: tuple[str, ...] = PUBLIC
    mode: str = "deny"
    allow: tuple = ()
    block: tuple = ()
    bypass: tuple = ()
    inspect: str = "full"
    expected: dict = field(default_factory=dict)  # further fields of the decision
    today: str = "2026-11-21"


def rows(sentence, *cases, **policy):
    """Cases of one policy: (target, allowed, [addresses])."""
    for target, allowed, *addresses in cases:
        yield Row(sentence, target, allowed, *addresses, **policy)


def raw(host, port, protocol="https", method=None, path=None):
    """A request as a guest may write it, past everything that tidies targets."""
    return Request(host, port, protocol, method, path)


MODES = (
    *rows(
        "`allow` (everything but blocked destinations)",
        ("https://example.com/", True),
        ("http://other.example.net/", True),
        ("example.com:8443", True),
        ("203.0.113.9", True),
        ("https://ads.example.com/", False),
        ("198.51.100.7", False),
        ("https://example.com/", False, ("198.51.100.7",)),
        mode="allow",
        block=("ads.example.com", "198.51.100.0/24"),
    ),
    *rows(
        "`deny` (nothing but allowed ones)",
        ("https://api.example.com/", True),
        ("https://example.com/", False),
        ("203.0.113.9", False),
        ("https://ads.example.com/", False),
        allow=("api.example.com",),
    ),
    *rows("`deny` (nothing but allowed ones)", ("https://example.com/", False), ("203.0.113.9", False)),
    *rows(
        "Raw TCP, UDP, ICMP are blocked",
        ("tcp://example.com:22", False),
        ("tcp://example.com:443", False),
        ("tcp://203.0.113.9:22", False),
        mode="allow",
        allow=("*", "*:22", "example.com", "203.0.113.0/24"),
    ),
)

PATTERNS = (
    *rows(
        "`example.com` (any port, not subdomains)",
        ("https://example.com/", True),
        ("http://example.com/", True),
        ("example.com:8443", True),
        ("example.com:65535", True),
        ("https://www.example.com/", False),
        ("https://a.b.example.com/", False),
        ("https://notexample.com/", False),
        ("https://example.com.evil.net/", False),
        ("https://com/", False),
        allow=("example.com",),
    ),
    *rows(
        "`example.com:443`",
        ("https://example.com/", True),
        ("http://example.com/", False),
        ("example.com:8443", False),
        ("https://www.example.com/", False),
        allow=("example.com:443",),
    ),
    *rows(
        "`*.example.com` (any subdomain, never the apex)",
        ("https://www.example.com/", True),
        ("https://a.b.c.example.com/", True),
        ("http://www.example.com/", True),
        ("www.example.com:8443", True),
        ("https://example.com/", False),
        ("https://wwwexample.com/", False),
        ("https://www.example.com.evil.net/", False),
        allow=("*.example.com",),
    ),
    *rows(
        "`*.example.com:443`",
        ("https://www.example.com/", True),
        ("http://www.example.com/", False),
        ("https://example.com/", False),
        allow=("*.example.com:443",),
    ),
    *rows(
        "`*:443`",
        ("https://example.com/", True),
        ("https://a.b.example.net/", True),
        ("203.0.113.9", True),
        ("[2001:db8::1]:443", True),
        ("http://example.com/", False),
        ("203.0.113.9:80", False),
        allow=("*:443",),
    ),
    *rows(
        "`*`",
        ("https://example.com/", True),
        ("http://example.net/", True),
        ("203.0.113.9:81", True),
        ("[2001:db8::1]:443", True),
        allow=("*",),
    ),
    *rows(
        "`*`, in mode allow, as a block",
        ("https://example.com/", False),
        ("203.0.113.9", False),
        ("https://api.example.com/", True),
        mode="allow",
        block=("*",),
        allow=("api.example.com",),
    ),
    *rows(
        "`**.x` is `x` and everything below",
        ("https://example.com/", True),
        ("https://www.example.com/", True),
        ("http://a.b.example.com/", True),
        ("https://notexample.com/", False),
        ("https://com/", False),
        allow=("**.example.com",),
    ),
    *rows(
        "`**.x` with a port",
        ("https://example.com/", True),
        ("https://www.example.com/", True),
        ("http://www.example.com/", False),
        allow=("**.example.com:443",),
    ),
)

# Of each pair of neighbours the first is the more specific: whichever of the two blocks, the first one decides.
ORDER = (
    "a.b.example.com:443",
    "a.b.example.com",
    "*.b.example.com:443",
    "**.b.example.com:443",
    "*.b.example.com",
    "**.b.example.com",
    "*.example.com:443",
    "**.example.com:443",
    "*.example.com",
    "**.example.com",
    "*.com:443",
    "**.com:443",
    "*.com",
    "**.com",
    "*:443",
    "*",
)

SPECIFICITY = (
    *rows(
        "So `example.com` and `*.example.com` can be blocked while `api.example.com:443` is allowed",
        ("https://api.example.com/", True),
        ("http://api.example.com/", False),
        ("https://www.example.com/", False),
        ("https://example.com/", False),
        ("https://example.net/", True),
        mode="allow",
        block=("example.com", "*.example.com"),
        allow=("api.example.com:443",),
    ),
    *rows(
        "wildcards, longest first",
        ("https://x.api.example.com/", False),
        ("https://x.example.com/", True),
        allow=("*.example.com",),
        block=("*.api.example.com",),
    ),
    *rows(
        "catch-all `*:443`, `*`; the mode",
        ("https://example.com/", False),
        ("http://example.com/", True),
        block=("*:443",),
        allow=("*",),
    ),
    *rows("on a tie block wins", ("https://example.com/", False), allow=("example.com",), block=("example.com",)),
)

RANGES = (
    *rows(
        "CIDR rules apply to the resolved address",
        ("https://example.com/", False, ("203.0.113.9",)),
        ("https://example.com/", True, ("203.0.114.9",)),
        ("https://example.com/", False, ("93.184.216.34", "203.0.113.9")),
        ("https://example.com/", False, ("2001:db8:7::1",)),
        mode="allow",
        block=("203.0.113.0/24", "2001:db8:7::/48"),
    ),
    *rows(
        "unless the host was explicitly allowed",
        ("https://intranet.example.com/", True, PRIVATE),
        ("https://other.example.com/", False, PRIVATE),
        mode="allow",
        allow=("intranet.example.com",),
    ),
    *rows(
        "An exact-host allow exempts from the *default* private-range block; wildcards never do",
        ("https://intranet.example.com/", True, PRIVATE),
        ("https://port.example.com/", True, PRIVATE),
        ("https://below.wild.example.com/", False, PRIVATE),
        ("https://below.deep.example.com/", False, PRIVATE),
        ("https://deep.example.com/", False, PRIVATE),
        ("https://10.9.8.7/", True, ()),
        ("https://10.9.8.6/", False, ()),
        allow=(
            "intranet.example.com",
            "port.example.com:443",
            "*.wild.example.com",
            "**.deep.example.com",
            "10.9.8.7",
            "*",
        ),
    ),
    *rows(
        "a user's own block always holds",
        ("https://intranet.example.com/", False, PRIVATE),
        ("https://intranet.example.com/", True, ("10.10.0.1",)),
        ("localhost:8080", False, ("127.0.0.1",)),
        allow=("intranet.example.com", "localhost:8080"),
        block=("10.9.0.0/16", "127.0.0.0/8"),
    ),
    *rows(
        "the longest prefix decides",
        ("203.0.113.130", True),
        ("203.0.113.5", False),
        ("203.0.113.131", False),
        mode="allow",
        allow=("203.0.113.128/25",),
        block=("203.0.113.0/24", "203.0.113.131/32"),
    ),
    *rows(
        "a default range gives way to an allowed range at least as specific",
        ("https://example.com/", True, ("10.1.2.3",)),
        ("https://example.com/", True, ("192.168.7.7",)),
        ("https://example.com/", False, ("192.168.8.8",)),
        ("https://example.com/", False, ("172.16.0.1",)),
        ("10.1.2.3", True, ()),
        mode="allow",
        allow=("10.0.0.0/8", "192.168.7.0/24", "172.0.0.0/8"),
    ),
    *rows(
        "an allowed range admits addresses, and no names",
        ("203.0.113.5", True, ()),
        ("https://example.com/", False, ("203.0.113.5",)),
        ("203.0.114.5", False, ()),
        allow=("203.0.113.0/24",),
    ),
    *rows(
        "addresses that are no single host are never dialled",
        *(
            (f"{address}", False, ())
            for address in ("0.0.0.0", "224.0.0.1", "255.255.255.255", "198.18.0.1", "240.0.0.1")
        ),
        *((f"[{address}]:443", False, ()) for address in ("::", "ff02::1")),
        ("https://example.com/", False, ("0.0.0.0",)),
        ("https://example.com/", False, ("93.184.216.34", "224.0.0.1")),
        mode="allow",
        allow=("*", "example.com", "0.0.0.0", "0.0.0.0/0", "::/0"),
    ),
)

LOCALHOST = (
    *rows(
        "`localhost` needs an explicit `localhost:1234`",
        ("localhost:1234", True, ("127.0.0.1",)),
        ("localhost:1234", True, ("::1", "127.0.0.1")),
        ("http://localhost:1234/", True, ("127.0.0.1",)),
        ("localhost:1235", False, ("127.0.0.1",)),
        allow=("localhost:1234",),
    ),
    *rows(
        "`localhost` needs an explicit `localhost:1234`: nothing else opens it",
        ("localhost:443", False, ("127.0.0.1",)),
        ("localhost:80", False, ("127.0.0.1",)),
        mode="allow",
        allow=("*", "*:443", "localhost", "127.0.0.0/8"),
    ),
    *rows(
        "requests to `host.docker.internal` count as `localhost`",
        ("host.docker.internal:1234", True, ("127.0.0.1",)),
        ("https://HOST.docker.internal.:1234/", True, ("127.0.0.1",)),
        ("host.docker.internal:1235", False, ("127.0.0.1",)),
        allow=("localhost:1234",),
    ),
    *rows(
        "requests to `host.docker.internal` count as `localhost`, in rules too",
        ("localhost:1234", True, ("127.0.0.1",)),
        allow=("host.docker.internal:1234",),
    ),
)

SPELLINGS = (
    *rows(
        "names are compared lower-case, IDNA-encoded, without a trailing dot",
        (raw("API.Example.COM", 443), True),
        (raw("api.example.com.", 443), True),
        (raw("bücher.example", 443), True),
        (raw("BÜCHER.example.", 443), True),
        (raw("xn--bcher-kva.example", 443), True),
        (raw("XN--BCHER-KVA.example", 443), True),
        (raw("faß.example", 443), True),
        (raw("fass.example", 443), False),
        (raw("\uff41\uff50\uff49\u3002example\u3002com", 443), True),
        (raw("api.example.com..", 443), False),
        (raw("api..example.com", 443), False),
        (raw("api.example.com\0.evil.net", 443), False),
        (raw("evil.net/api.example.com", 443), False),
        (raw("user@api.example.com", 443), False),
        allow=("api.example.com", "xn--bcher-kva.example", "faß.example"),
    ),
    *rows(
        "A literal address in any spelling (decimal, octal, hex, IPv4-mapped) is one address: allowed",
        *(
            (raw(spelling, 443), True, ())
            for spelling in (
                "203.0.113.5",
                "203.0.113.5.",
                "3405803781",
                "0313.0.0161.05",
                "0xcb.0x00.0x71.0x05",
                "0XCB007105",
                "203.28933",
                "203.0.28933",
                "00000313.0.113.0x5",
                "::ffff:203.0.113.5",
                "[::FFFF:cb00:7105]",
                "0:0:0:0:0:ffff:cb00:7105",
                "::203.0.113.5",
                "\uff12\uff10\uff13.0.113.5",
                "203\u30020\u3002113\u30025",
            )
        ),
        *((raw(spelling, 443), False, ()) for spelling in ("203.0.113.6", "3405803782", "203.0.113.5.6", "203.0.113")),
        allow=("203.0.113.5",),
    ),
    *rows(
        "A literal address in any spelling (decimal, octal, hex, IPv4-mapped) is one address: blocked by default",
        *(
            (raw(spelling, 80, "http"), False, ())
            for spelling in (
                "127.0.0.1",
                "127.1",
                "127.0.1",
                "2130706433",
                "017700000001",
                "0x7f000001",
                "0x7f.1",
                "0177.0x0.0.01",
                "::ffff:127.0.0.1",
                "::127.0.0.1",
                "64:ff9b::7f00:1",
                "64:ff9b:1::127.0.0.1",
                "2002:7f00:1::",
                "2001:0:4136:e378:8000:63bf:80ff:fffe",
                "2001:0:7f00:1::",
                "fe80::5efe:127.0.0.1",
                "::ffff:0:127.0.0.1",
                "169.254.169.254",
                "2852039166",
                "0xa9fea9fe",
                "::ffff:a9fe:a9fe",
                "[fd00:ec2::254]",
            )
        ),
        mode="allow",
        allow=("*", "*:80"),
    ),
    *rows(
        "names that only look like addresses stay names",
        (raw("1.2.3.4.example.com", 443), True),
        (raw("0x7f.example.com", 443), True),
        (raw("1.2.3.256", 443), False),
        (raw("foo.123", 443), False),
        (raw("1.2.3.4.5", 443), False),
        (raw("example.0x7f", 443), False),
        mode="allow",
    ),
)

CONTENT = (
    *rows(
        "{host: api.github.com, methods: [GET, HEAD], paths: [/repos/acme/**]}",
        ("GET https://api.github.com/repos/acme/shop", True),
        ("HEAD https://api.github.com/repos/acme/shop/issues?page=2", True),
        ("POST https://api.github.com/repos/acme/shop", False),
        ("https://api.github.com/repos/other", False),
        ("https://api.github.com/", False),
        ("api.github.com:443", True),
        (raw("api.github.com", 443, method="get", path="/repos/acme/x"), False),
        (raw("api.github.com", 443, method="GET", path="/repos/acme/../other"), False),
        (raw("api.github.com", 443, method="GET", path="/repos/acme/%2e%2e/other"), False),
        (raw("api.github.com", 443, method="GET", path="/repos/acme//x"), False),
        allow=(("api.github.com", {"methods": ("GET", "HEAD"), "paths": ("/repos/acme/**",)}),),
        expected={"inspect": True},
    ),
    *rows(
        "A rule with `methods`/`paths` implies interception",
        ("https://api.example.com/", True),
        mode="allow",
        block=(("api.example.com", {"methods": ("DELETE",)}),),
        bypass=("api.example.com",),
        inspect="minimal",
        expected={"inspect": True, "bypass": False},
    ),
    *rows(
        "a block with methods and paths blocks those, and what may be read as those",
        ("GET https://api.example.com/admin/x", False),
        ("GET https://api.example.com/public", True),
        ("GET https://api.example.com/%61dmin/x", False),
        ("GET https://api.example.com/public/../admin/x", False),
        ("GET https://api.example.com/public//x", False),
        ("DELETE https://api.example.com/public", False),
        (raw("api.example.com", 443, method="delete", path="/public"), False),
        ("api.example.com:443", True),
        mode="allow",
        block=(("api.example.com", {"paths": ("/admin/**",)}), ("api.example.com", {"methods": ("DELETE",)})),
    ),
    *rows(
        "{host: db.example.com, port: 5432, protocol: tcp}: raw TCP, by name",
        ("tcp://db.example.com:5432", True),
        ("tcp://db.example.com:5432", True, PRIVATE),
        ("tcp://db.example.com:5433", False),
        ("tcp://other.example.com:5432", False),
        ("db.example.com:5432", False),
        allow=(("db.example.com:5432", {"protocol": "tcp"}),),
    ),
    *rows(
        "raw TCP, by name: an allowed range lets its addresses through, but not one that is for some methods",
        ("tcp://x.db.example.com:5432", True, ("10.9.8.7",)),
        ("tcp://x.db.example.com:5432", False, ("192.168.1.1",)),
        ("tcp://x.db.example.com:5432", False, ("172.16.0.1",)),
        allow=(
            ("*.db.example.com:5432", {"protocol": "tcp"}),
            "10.0.0.0/8",
            ("192.168.0.0/16", {"methods": ("GET",)}),
        ),
    ),
    Row(
        "{host: old.example.com, until: 2027-01-31}: on its last day",
        "https://old.example.com/",
        True,
        allow=(("old.example.com", {"until": "2027-01-31"}),),
        today="2027-01-31",
    ),
    Row(
        "{host: old.example.com, until: 2027-01-31}: the day after",
        "https://old.example.com/",
        False,
        allow=(("old.example.com", {"until": "2027-01-31"}),),
        today="2027-02-01",
    ),
)

INTERCEPTION = (
    *rows(
        "TLS is intercepted so that policy can be enforced and credentials injected",
        ("https://example.com/", True),
        ("http://example.com/", True),
        mode="allow",
        expected={"inspect": True, "bypass": False},
    ),
    *rows(
        "`inspect: minimal` tunnels what needs no interception",
        ("https://example.com/", True),
        mode="allow",
        inspect="minimal",
        expected={"inspect": False, "bypass": False},
    ),
    *rows(
        "`bypass` hosts/CIDRs are tunnelled untouched",
        ("https://pinned.example.com/", True),
        ("https://example.com/", True, ("203.0.113.7",)),
        ("https://example.com/", True, ("203.0.113.7", "203.0.113.8")),
        ("203.0.113.9", True, ()),
        mode="allow",
        bypass=("pinned.example.com", "203.0.113.0/24"),
        expected={"inspect": False, "bypass": True},
    ),
    *rows(
        "`bypass` CIDRs: every address counts",
        ("https://example.com/", True, ("203.0.113.7", "93.184.216.34")),
        ("https://example.com/", True),
        mode="allow",
        bypass=("pinned.example.com", "203.0.113.0/24"),
        expected={"inspect": True, "bypass": False},
    ),
    *rows(
        "no injection there, host and port still enforced",
        ("https://pinned.example.com/", True),
        ("pinned.example.com:8443", False),
        ("https://other.example.com/", False),
        ("203.0.113.9", False, ()),
        allow=("pinned.example.com:443",),
        bypass=("pinned.example.com", "other.example.com", "203.0.113.0/24"),
    ),
    *rows(
        "raw TCP is never looked into",
        ("tcp://db.example.com:5432", True),
        allow=(("db.example.com:5432", {"protocol": "tcp"}),),
        bypass=("*",),
        expected={"inspect": False, "bypass": False},
    ),
)

TABLE = MODES + PATTERNS + SPECIFICITY + RANGES + LOCALHOST + SPELLINGS + CONTENT + INTERCEPTION


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.sentence[:50]}-{row.target}-{row.addresses}")
def test_the_decision_is_what_the_sentence_says(row, layer, decide):
    own = layer("policy web", row.mode, row.allow, row.block, row.bypass, inspect=row.inspect)
    decision = decide([own], row.target, row.addresses or None, row.today)
    assert decision.allowed == row.allowed, (row.sentence, decision.reason)
    if decision.allowed:
        assert {name: getattr(decision, name) for name in row.expected} == row.expected, row.sentence


@pytest.mark.parametrize("loser", range(1, len(ORDER)))
@pytest.mark.parametrize("winner_allows", [True, False])
def test_most_specific_wins(loser, winner_allows, layer, decide):
    """exact host+port; exact host; wildcards, longest first, with port before without; catch-all; the mode"""
    winner = ORDER[loser - 1]
    allowed, blocked = (winner, ORDER[loser]) if winner_allows else (ORDER[loser], winner)
    decision = decide([layer(allow=[allowed], block=[blocked])], "a.b.example.com:443", PUBLIC)
    assert (decision.allowed, decision.rule) == (winner_allows, winner)


@pytest.mark.parametrize("pattern", ORDER)
@pytest.mark.parametrize(("mode", "kind", "allowed"), [("deny", "allow", True), ("allow", "block", False)])
def test_every_pattern_wins_over_the_mode(pattern, mode, kind, allowed, layer, decide):
    decision = decide([layer(mode=mode, **{kind: [pattern]})], "a.b.example.com:443", PUBLIC)
    assert (decision.allowed, decision.rule) == (allowed, pattern)


DEFAULTS = (
    ("10.0.0.0/8", "9.255.255.255", "11.0.0.0"),
    ("127.0.0.0/8", "126.255.255.255", "128.0.0.0"),
    ("169.254.0.0/16", "169.253.255.255", "169.255.0.0"),
    ("172.16.0.0/12", "172.15.255.255", "172.32.0.0"),
    ("192.168.0.0/16", "192.167.255.255", "192.169.0.0"),
    ("::1/128", None, None),  # its neighbours are :: (never dialled) and ::2 (an IPv4 address in disguise)
    ("fc00::/7", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe00::"),
    ("fe80::/10", "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fec0::"),
)


@pytest.mark.parametrize(("text", "below", "above"), DEFAULTS)
@pytest.mark.parametrize("mode", ["allow", "deny"])
def test_default_ranges_are_blocked_from_the_first_to_the_last_address(text, below, above, mode, layer, decide):
    """Default blocked CIDRs in allow mode: 10.0.0.0/8, 127.0.0.0/8, ..."""
    own = layer(mode=mode, allow=["*"] if mode == "deny" else [])
    network = ip_network(text)
    for inside in (network[0], network[-1]):
        by_name = decide([own], "https://example.com/", [str(inside)])
        as_literal = decide([own], Request(str(inside), 443))
        for decision in (by_name, as_literal):
            assert (decision.allowed, decision.rule, decision.layer) == (False, "default block", "default")
            assert f"is in {text}, blocked by default" in decision.reason
    for outside in filter(None, (below, above)):
        assert decide([own], "https://example.com/", [outside]).allowed
        assert decide([own], Request(outside, 443)).allowed


def test_default_ranges_are_these_and_no_others(layer, decide):
    """What lies between them is open in mode allow, but for what is never dialled."""
    for first in range(1, 224):
        address = f"{first}.77.77.77"
        expected = first not in (10, 127) and not ip_address(address).is_multicast
        assert decide([layer(mode="allow")], Request(address, 443)).allowed == expected, address


def test_without_a_policy_nothing_is_allowed(decide):
    """else deny with nothing but its agent's own hosts"""
    for target in ("https://example.com/", "203.0.113.9", "localhost:80", "tcp://example.com:22"):
        assert not decide(NO_POLICY.layers, target, PUBLIC).allowed


class TestEnforcedLayers:
    """enforce: every sandbox is held to this one as well as to its own: both must allow"""

    @pytest.mark.parametrize(
        ("target", "allowed", "decider"),
        [
            ("https://api.example.com/", True, "policy web"),
            ("https://api.internal.example.com/", False, "policy team"),
            ("https://other.example.com/", False, "policy web"),
        ],
    )
    def test_both_must_allow(self, target, allowed, decider, layer, decide):
        team = layer("policy team", "allow", block=["*.internal.example.com"], enforced=True)
        own = layer("policy web", allow=["api.example.com", "api.internal.example.com"])
        decision = decide([team, own], target, PUBLIC)
        assert (decision.allowed, decision.layer) == (allowed, decider)

    def test_the_first_layer_that_denies_gives_the_reason(self, layer, decide):
        machine = layer("machine policy corp", "deny", allow=["*.example.com"], enforced=True)
        team = layer("policy team", "allow", block=["bad.example.com"], enforced=True)
        own = layer("policy web", "deny")
        assert decide([machine, team, own], "https://example.net/").layer == "machine policy corp"
        assert decide([machine, team, own], "https://bad.example.com/").layer == "policy team"
        assert decide([machine, team, own], "https://good.example.com/").layer == "policy web"

    def test_an_enforced_layer_cannot_be_outdone_by_a_more_specific_rule(self, layer, decide):
        team = layer("policy team", "allow", block=["*"], enforced=True)
        own = layer("policy web", "allow", allow=["api.example.com:443"])
        assert not decide([team, own], "https://api.example.com/").allowed

    def test_a_port_of_the_host_is_opened_by_the_own_layer_and_by_enforced_ones_in_mode_deny(self, layer, decide):
        own = layer(allow=["localhost:80"])

        def passes(mode, **rules):
            return decide([layer("policy team", mode, enforced=True, **rules), own], "localhost:80", ["127.0.0.1"])

        assert passes("allow").allowed
        assert passes("deny", allow=["localhost:80"]).allowed
        assert not passes("deny", allow=["*", "localhost:81"]).allowed
        for block in ("localhost:80", "localhost", "*", "*:80", "127.0.0.0/8"):
            assert passes("allow", block=[block]).layer == "policy team", block
        silent = layer("policy team", "allow", allow=["localhost:80"], enforced=True)
        assert not decide([silent, layer(mode="allow")], "localhost:80", ["127.0.0.1"]).allowed

    def test_an_exact_host_of_the_own_layer_exempts_where_enforced_layers_block_no_range(self, layer, decide):
        own = layer(allow=["intranet.example.com"])
        silent = layer("policy team", "allow", enforced=True)
        strict = layer("policy team", "allow", block=["10.0.0.0/8"], enforced=True)
        assert decide([silent, own], "https://intranet.example.com/", PRIVATE).allowed
        assert decide([strict, own], "https://intranet.example.com/", PRIVATE).layer == "policy team"

    def test_an_enforced_layer_does_not_exempt_the_own_layer_from_default_ranges(self, layer, decide):
        team = layer("policy team", "allow", allow=["intranet.example.com", "10.0.0.0/8"], enforced=True)
        assert decide([team, layer(mode="allow")], "https://intranet.example.com/", PRIVATE).rule == "default block"

    def test_raw_tcp_passes_an_enforced_layer_in_mode_allow_unless_it_blocks(self, layer, decide):
        own = layer(allow=[("db.example.com:5432", {"protocol": "tcp"})])
        target = "tcp://db.example.com:5432"
        for team, allowed in (
            (layer("policy team", "allow", enforced=True), True),
            (layer("policy team", "allow", block=["db.example.com"], enforced=True), False),
            (layer("policy team", "allow", block=["203.0.113.0/24"], enforced=True), False),
            (layer("policy team", "allow", block=[("*", {"methods": ("DELETE",)})], enforced=True), False),
            (layer("policy team", "deny", enforced=True), False),
            (layer("policy team", "deny", allow=["db.example.com"], enforced=True), False),
            (layer("policy team", "deny", allow=[("*:5432", {"protocol": "tcp"})], enforced=True), True),
        ):
            assert decide([team, own], target, ["203.0.113.7"]).allowed == allowed, team

    def test_inspection_that_one_layer_needs_is_needed(self, layer, decide):
        team = layer("policy team", "allow", block=[("*.example.com", {"methods": ("DELETE",)})], enforced=True)
        own = layer(mode="allow", bypass=["*"], inspect="minimal")
        looked_into = decide([team, own], "https://api.example.com/", PUBLIC)
        passed_on = decide([team, own], "https://example.net/", PUBLIC)
        assert (looked_into.inspect, looked_into.bypass) == (True, False)
        assert (passed_on.inspect, passed_on.bypass) == (False, True)


def test_the_example_policy_passes_its_own_tests(layer, decide):
    """The `package-managers` policy of the language, without its presets."""
    own = layer(
        "policy package-managers",
        "deny",
        allow=[
            "api.example.com:443",
            "*.example.com",
            "203.0.113.0/24",
            ("api.github.com", {"methods": ("GET", "HEAD"), "paths": ("/repos/acme/**",)}),
            ("db.example.com:5432", {"protocol": "tcp"}),
            ("old.example.com", {"until": "2027-01-31"}),
        ],
        block=["ads.example.com", "198.51.100.0/24"],
        bypass=["pinned.example.com", "203.0.113.0/24"],
    )
    assert decide([own], "https://api.example.com/v1", PUBLIC).allowed
    assert not decide([own], "http://169.254.169.254/").allowed
    assert not decide([own], "https://example.com/", PUBLIC).allowed
    assert decide([own], "https://pinned.example.com/", PUBLIC).bypass
    assert not decide([own], "https://ads.example.com/", PUBLIC).allowed
    assert not decide([own], "https://www.example.com/", ["198.51.100.3"]).allowed


def test_a_rule_says_where_it_stands(layer, decide):
    """One decision has one reason: layer, rule, file:line."""
    web = layer(allow=[("api.example.com", {"place": "sandbox.yaml:12:9"})], place="sandbox.yaml:11:5")
    allowed, denied = decide([web], "api.example.com:443"), decide([web], "evil.example.com:443")
    assert (allowed.layer, allowed.rule, allowed.place) == ("policy web", "api.example.com", "sandbox.yaml:12:9")
    assert allowed.reason == (
        'api.example.com:443 is allowed by rule "api.example.com" of policy web (sandbox.yaml:12:9)'
    )
    assert (denied.layer, denied.rule, denied.place) == ("policy web", "mode deny", "sandbox.yaml:11:5")
    assert denied.reason == (
        "evil.example.com:443 is not allowed: no rule of policy web matches, and its mode is deny (sandbox.yaml:11:5)"
    )


def test_comments_and_places_make_no_other_policy():
    assert Rule("a.example.com", place="a:1:1", reason="x") == Rule("a.example.com", place="b:2:2")
