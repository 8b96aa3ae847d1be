"""The index against a second matcher: a scan over all rules with a sort key, written from the document alone.

It shares nothing with the package but the data types, and is told the truth where the package must find it out: which
address a spelling means, and how a path reads. Each tier must have decided often enough, or the test proves nothing.
"""

import random
import re
from collections import Counter
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address, ip_network

from sandboxfile.model.policy import Layer, Policy, Request, Rule
from sandboxfile.policy.compiled import compile_policy

SEED = 20261121
TRIPLES = 20_000
AT_LEAST = 25  # decisions by each tier
TODAY = "2026-11-21"
DEFAULTS = ("10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
DEFAULTS += ("::1/128", "fc00::/7", "fe80::/10")
NEVER = ("0.0.0.0/8", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4", "::/128", "ff00::/8")

# ---------------------------------------------------------------- the naive matcher


@dataclass
class Asked:
    """A request with the truth about it."""

    request: Request
    host: str  # canonical
    literal: object  # its address, None for a name
    odd_path: bool
    plain_path: str | None
    addresses: list | None


@dataclass
class Answer:
    allowed: bool
    layer: str
    rule: str
    tier: str
    conditional: bool
    exact: bool = False


def split(pattern):
    """Kind, name, port of a canonical pattern."""
    if "/" in pattern:
        return "range", pattern, None
    if pattern.startswith("["):
        name, _, port = pattern[1:].partition("]")
        port = port[1:]
    elif pattern.count(":") == 1:
        name, port = pattern.split(":")
    else:
        name, port = pattern, ""
    kind = (
        "deep" if name.startswith("**.") else "wildcard" if name.startswith("*.") else "any" if name == "*" else "host"
    )
    return kind, name.lstrip("*").removeprefix(".") if kind != "host" else name, int(port) if port else None


def names_it(pattern, asked, *, opens=True):
    """Whether a pattern is for this host and port. `localhost` is opened by its own rule only, but bypassed by any."""
    kind, name, port = split(pattern)
    if kind == "range" or (port is not None and port != asked.request.port):
        return False
    if opens and asked.host == "localhost":
        return kind == "host" and name == "localhost" and port is not None
    if kind == "any":
        return True
    if kind == "host":
        return name == asked.host
    below = asked.literal is None and asked.host.endswith("." + name)
    return below or (kind == "deep" and asked.host == name)


def tier_key(pattern):
    kind, name, port = split(pattern)
    portless = port is None
    if kind == "host":
        return (0, 0, portless, 0)
    if kind == "any":
        return (2, 0, portless, 0)
    return (1, -len(name), portless, kind == "deep")


def holds(rule, effect, asked, *, address_only=False):
    """Whether methods, paths, protocol and end of a rule fit."""
    request = asked.request
    if rule.until and rule.until < TODAY:
        return False
    conditional = bool(rule.methods or rule.paths)
    if request.protocol == "tcp":
        return rule.protocol == "tcp" or effect == "block" or (address_only and not conditional)
    if rule.protocol == "tcp":
        return address_only and not conditional
    return method_holds(rule, effect, request.method) and path_holds(rule, effect, asked)


def method_holds(rule, effect, method):
    if not rule.methods:
        return True
    if method is None:
        return effect == "allow"
    return (method.upper() if effect == "block" else method) in rule.methods


def path_holds(rule, effect, asked):
    if rule.paths:
        if asked.request.path is None:
            return effect == "allow"
        if asked.odd_path:
            return effect == "block"
        return any(re.fullmatch(as_regex(glob), asked.plain_path) for glob in rule.paths)
    return True


def as_regex(glob):
    return "".join(
        ".*" if part == "**" else "[^/]*" if part == "*" else re.escape(part) for part in re.split(r"(\*+)", glob)
    )


def alive(rule, asked):
    """Whether a rule makes a layer depend on content."""
    conditional = bool(rule.methods or rule.paths)
    return (
        conditional
        and rule.protocol == "http"
        and asked.request.protocol != "tcp"
        and not (rule.until and rule.until < TODAY)
    )


def rules_of(layer):
    return [(rule, "allow") for rule in layer.allow] + [(rule, "block") for rule in layer.block]


def rank(rule, effect):
    return (not (rule.methods or rule.paths), effect == "allow")


def ask_layer(layer, asked, own):
    closes = asked.host == "localhost" and (own or layer.mode == "deny")
    named = [(rule, effect) for rule, effect in rules_of(layer) if names_it(rule.pattern, asked, opens=closes)]
    named.sort(key=lambda pair: (tier_key(pair[0].pattern), rank(*pair)))
    answer, seen = None, False
    for rule, effect in named:
        seen = seen or alive(rule, asked)
        if holds(rule, effect, asked):
            kind, _, port = split(rule.pattern)
            tier = kind + ("+port" if port else "")
            answer = Answer(
                effect == "allow", layer.name, rule.pattern, tier, seen, kind == "host" and effect == "allow"
            )
            break
    if answer is None and closes:
        answer = Answer(False, layer.name, "localhost", "localhost", seen)
    if answer is None:
        answer = by_mode(layer, asked, own, seen)
    if not answer.allowed or asked.addresses is None:
        return answer
    return ask_addresses(layer, asked, own, answer)


def by_mode(layer, asked, own, seen):
    if layer.mode == "allow" and not (own and asked.request.protocol == "tcp"):
        return Answer(True, layer.name, "mode allow", "mode allow", seen)
    if asked.literal is not None:
        for rule, effect in ranges_of(layer, asked.literal):
            seen = seen or alive(rule, asked)
            if holds(rule, effect, asked):
                return Answer(
                    effect == "allow", layer.name, rule.pattern, "admitted" if effect == "allow" else "range", seen
                )
    return Answer(False, layer.name, f"mode {layer.mode}", f"mode {layer.mode}", seen)


def ranges_of(layer, address, defaults=()):
    found = [
        (rule, effect)
        for rule, effect in rules_of(layer) + [(Rule(text), "default") for text in defaults]
        if "/" in rule.pattern and contains(rule.pattern, address)
    ]
    order = ("block", "allow", "default")
    return sorted(
        found,
        key=lambda pair: (
            -int(pair[0].pattern.split("/")[1]),
            not (pair[0].methods or pair[0].paths),
            order.index(pair[1]),
        ),
    )


def contains(network, address):
    network = ip_network(network)
    return network.version == address.version and address in network


def ask_addresses(layer, asked, own, answer):
    every = ([asked.literal] if asked.literal is not None else []) + asked.addresses
    for address in every:
        for form in hidden(address):
            for rule, effect in ranges_of(layer, form, DEFAULTS if own else ()):
                if effect == "default" and answer.exact:
                    continue
                answer.conditional = answer.conditional or alive(rule, asked)
                if not holds(rule, effect, asked, address_only=True):
                    continue
                if effect == "allow":
                    break
                if effect == "default":
                    return Answer(False, "default", "default block", "default", answer.conditional)
                return Answer(False, layer.name, rule.pattern, "range", answer.conditional)
    return answer


def hidden(address):
    """The address and what it may be turned into, by the standard library."""
    yield address
    if isinstance(address, IPv4Address):
        return
    last = IPv4Address(int(address) % 2**32)
    carriers = ("::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "::/96")
    if int(address) > 1 and any(contains(carrier, address) for carrier in carriers):
        yield last
    if address.sixtofour:
        yield address.sixtofour
    if address.teredo:
        yield from address.teredo


def naive(policy, asked):
    """(allowed, layer, rule, inspect, bypass), and the tiers that took part."""
    answers = []
    for number, layer in enumerate(policy.layers):
        answer = ask_layer(layer, asked, own=number == len(policy.layers) - 1)
        answers.append(answer)
        if not answer.allowed:
            where = "enforced" if number < len(policy.layers) - 1 else "own"
            return (False, answer.layer, answer.rule, True, False), [answer.tier + " denies", where]
    if asked.addresses is not None:
        if not asked.addresses:
            return (False, "default", "no address", True, False), ["no address"]
        every = ([asked.literal] if asked.literal is not None else []) + asked.addresses
        if any(contains(never, form) for address in every for form in hidden(address) for never in NEVER):
            return (False, "default", "never dialled", True, False), ["never dialled"]
    tcp = asked.request.protocol == "tcp"
    conditional = any(answer.conditional for answer in answers)
    bypass = not tcp and not conditional and any(bypassed(layer, asked) for layer in policy.layers)
    full = any(layer.inspect == "full" for layer in policy.layers) or asked.request.protocol == "http"
    inspect = not tcp and not bypass and (conditional or full)
    tiers = [answers[-1].tier + " allows", "tcp" if tcp else "http"]
    tiers += (
        ["conditional"] * conditional + ["bypass"] * bypass + ["minimal"] * (not inspect and not bypass and not tcp)
    )
    return (True, answers[-1].layer, answers[-1].rule, inspect, bypass), tiers


def bypassed(layer, asked):
    live = [rule for rule in layer.bypass if not (rule.until and rule.until < TODAY)]
    if any(names_it(rule.pattern, asked, opens=False) for rule in live):
        return True
    ranges = [rule.pattern for rule in live if "/" in rule.pattern]
    return bool(asked.addresses) and all(any(contains(each, address) for each in ranges) for address in asked.addresses)


# ---------------------------------------------------------------- the generator: a small world, so that rules collide

NAMES = ("example.com", "a.example.com", "b.example.com", "a.b.example.com", "b.a.b.example.com", "example.net", "com")
PORTS = (80, 443, 5432)
V4 = (
    "203.0.113.5",
    "203.0.113.200",
    "10.9.8.7",
    "10.1.2.3",
    "127.0.0.1",
    "169.254.169.254",
    "93.184.216.34",
    "0.0.0.1",
    "224.0.0.1",
)
LED_TO = (*V4, "93.184.216.34", "93.184.216.35", "93.184.216.36", "93.184.216.37")
V6 = ("2001:db8::1", "::1", "fd00::1", "fe80::1", "ff02::1", "2606:4700::1111")
RANGES = (
    "203.0.113.0/24",
    "203.0.113.128/25",
    "203.0.0.0/16",
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.9.0.0/16",
    "10.9.8.7/32",
    "127.0.0.0/8",
    "93.0.0.0/8",
    "169.254.0.0/16",
    "::/0",
    "2001:db8::/32",
    "2001:db8::/64",
    "fd00::/8",
    "fc00::/7",
    "64:ff9b::/96",
    "2002::/16",
)
PATHS = (  # as sent, and as everybody reads it
    ("/", "/"),
    ("/repos/acme", "/repos/acme"),
    ("/repos/acme/x", "/repos/acme/x"),
    ("/repos/acme/x/y", "/repos/acme/x/y"),
    ("/repos/other/x", "/repos/other/x"),
    ("/repos/%C3%BC", "/repos/\u00c3\u00bc"),
    ("/repos/acme/../other/x", None),
    ("/repos//acme/x", None),
    ("/repos/%61cme/x", None),
    ("/repos/acme%2fx", None),
    ("/repos\\acme", None),
    ("/repos/acme/%252e", None),
    ("*", None),
)
GLOBS = ("/repos/acme/**", "/repos/*/x", "/**", "/repos/*", "/", "/**/x", "/repos/**/y")
METHODS = ("GET", "POST", "DELETE")


def spelled(rng, address):
    """One of the ways to write an address."""
    number = int(address)
    if address.version == 6:
        return rng.choice([str(address), address.exploded, str(address).upper(), f"[{address}]"])
    first, second, third, fourth = address.packed
    return rng.choice(
        [
            str(address),
            f"{address}.",
            str(number),
            hex(number).upper(),
            f"0{number:o}",
            f"{first}.{number % 2**24}",
            f"{first:#x}.{second:#o}".replace("0o", "0") + f".{number % 2**16}",
            f"{first}.0{second:o}.{third:#x}.0{fourth:o}",
            f"::ffff:{address}",
            f"[::FFFF:{number >> 16:x}:{number % 2**16:X}]",
        ]
    )


def carried(rng, address):
    """An IPv6 address with this IPv4 address in it; sometimes the address itself."""
    number = int(address)
    return rng.choice(
        [
            address,
            address,
            ip_address(f"::ffff:{address}"),
            ip_address(f"64:ff9b::{address}"),
            ip_address((0x2002 << 112) | (number << 80) | 1),
            ip_address((0x2001 << 112) | (0x01010101 << 64) | (~number & 0xFFFFFFFF)),
        ]
    )


def some_pattern(rng, tcp=False):
    port = f":{rng.choice(PORTS)}" if tcp or rng.random() < 0.4 else ""
    name = rng.choice(NAMES)
    roll = rng.random()
    if roll < 0.25:
        return name + port
    if roll < 0.45:
        return f"*.{name}{port}"
    if roll < 0.6:
        return f"**.{name}{port}"
    if roll < 0.65:
        return f"*{port}"
    if roll < 0.7:
        return f"localhost{port}"
    if roll < 0.8:
        address = rng.choice(V4 + V6)
        return f"[{address}]{port}" if ":" in address and port else address + port
    return rng.choice(RANGES) if not tcp else name + port


def some_rule(rng):
    tcp = rng.random() < 0.15
    conditional = not tcp and rng.random() < 0.3
    return Rule(
        some_pattern(rng, tcp),
        "tcp" if tcp else "http",
        tuple(rng.sample(METHODS, rng.randint(0, 2))) if conditional else (),
        tuple(rng.sample(GLOBS, rng.randint(0, 2))) if conditional else (),
        rng.choice(["", "", "", TODAY, "2026-11-20", "2027-01-31"]),
    )


def some_layer(rng, name):
    return Layer(
        name,
        rng.choice(["allow", "deny"]),
        tuple(some_rule(rng) for _ in range(rng.randint(0, 7))),
        tuple(some_rule(rng) for _ in range(rng.randint(0, 4))),
        tuple(Rule(some_pattern(rng)) for _ in range(rng.randint(0, 2))),
        rng.choice(["full", "minimal"]),
        name != "own",
    )


def some_policy(rng):
    enforced = rng.choice([0, 0, 0, 1, 2])
    return Policy((*(some_layer(rng, f"enforced {number}") for number in range(enforced)), some_layer(rng, "own")))


def some_request(rng):
    literal, addresses = None, None
    roll = rng.random()
    if roll < 0.6:
        host = rng.choice(NAMES)
        text = rng.choice([host, host.upper(), host + ".", host.replace(".", "\u3002")])
    elif roll < 0.7:
        host, text = "localhost", rng.choice(["localhost", "LOCALHOST.", "host.docker.internal"])
    else:
        literal = ip_address(rng.choice(V4 + V6))
        host, text = str(literal), spelled(rng, literal)
        addresses = [literal]
    if literal is None and rng.random() < 0.7:
        addresses = [carried(rng, ip_address(rng.choice(LED_TO))) for _ in range(rng.choice([0, 1, 1, 1, 2]))]
        addresses += [ip_address(rng.choice(V6)) for _ in range(rng.random() < 0.2)]
    protocol = rng.choice(["https", "https", "http", "tcp"])
    method, path, plain = None, None, None
    if protocol != "tcp" and rng.random() < 0.7:
        method = rng.choice([*METHODS, "get", "delete"])
        path, plain = rng.choice(PATHS)
    request = Request(text, rng.choice(PORTS), protocol, method, path)
    return Asked(request, host, literal, path is not None and plain is None, plain, addresses)


EXPECTED_TIERS = {
    *(f"{tier} {verb}" for tier in ("host+port", "host", "wildcard+port", "wildcard") for verb in ("allows", "denies")),
    *(f"{tier} {verb}" for tier in ("deep+port", "deep", "any+port", "any") for verb in ("allows", "denies")),
    *("mode allow allows", "mode allow denies", "mode deny denies", "localhost denies", "admitted allows"),
    *("range denies", "default denies", "never dialled", "no address", "enforced", "own"),
    *("tcp", "http", "conditional", "bypass", "minimal"),
}


def test_the_index_decides_as_a_scan_does():
    rng = random.Random(SEED)
    tiers = Counter()
    policy = compiled = None
    for number in range(TRIPLES):
        if number % 4 == 0:
            policy = some_policy(rng)
            compiled = compile_policy(policy)
        asked = some_request(rng)
        given = None if asked.literal is not None and rng.random() < 0.5 else asked.addresses
        decision = compiled.decide(asked.request, given, TODAY)
        expected, reached = naive(policy, asked)
        found = (decision.allowed, decision.layer, decision.rule, decision.inspect, decision.bypass)
        assert found == expected, (f"seed {SEED}, triple {number}", asked, policy, decision)
        assert decision.host == asked.host
        assert decision.addresses == tuple(str(address) for address in asked.addresses or ())
        tiers.update(reached)
    seldom = {tier: tiers[tier] for tier in EXPECTED_TIERS if tiers[tier] < AT_LEAST}
    assert not seldom, f"the generator hardly reaches {seldom}; it reached {dict(tiers)}"
