"""A decision costs the same with ten rules and with ten thousand: counted in bytecode instructions, not in time."""

import sys
from functools import cache
from ipaddress import ip_address
from pathlib import Path

import pytest

import sandboxfile.policy
from sandboxfile.model.policy import Layer, Policy, Request, Rule
from sandboxfile.policy.compiled import compile_policy

PACKAGE = str(Path(sandboxfile.policy.__file__).parent)
TODAY = "2026-11-21"
FEW, MANY = 40, 10_000  # rules of each layer


@cache
def compiled_of(count):
    """Exact hosts with ports, wildcards of both kinds and ranges of one length, in two layers."""

    def rules(first_byte):
        for number in range(count // 4):
            yield Rule(f"h{number}.example.com:443")
            yield Rule(f"*.w{number}.example.com")
            yield Rule(f"**.d{number}.example.com:443")
            yield Rule(f"{first_byte}.{number // 250}.{number % 250}.0/24")

    enforced = Layer("policy team", "allow", block=tuple(rules(12)), enforced=True)
    own = Layer("policy web", "deny", allow=(*rules(11), Rule("api.example.net")))
    return compile_policy(Policy((enforced, own)))


def instructions(function, *arguments):
    """How many bytecode instructions of the package a call runs, and its result."""
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    try:
        for _ in range(2):  # the interpreter counts no instructions before the first frame has asked for them
            count = 0
            sys.settrace(trace)
            result = function(*arguments)
            sys.settrace(None)
    finally:
        sys.settrace(before)
    return count, result


ASKED = {
    "an exact host": (Request("api.example.net", 443), ["93.184.216.34"], True),
    "a blocked host": (Request("h7.example.com", 443, "https", "GET", "/x"), ["93.184.216.34"], False),
    "a name below a wildcard": (Request("a.b.c.w5.example.com", 443), ["93.184.216.34"], False),
    "a name that nothing names": (Request("evil.example.org", 443), ["93.184.216.34"], False),
    "a name with many labels": (Request(".".join(["a"] * 120), 443), None, False),
    "an address in a range": (Request("11.0.3.9", 443), None, True),
    "an address in no range": (Request("93.184.216.34", 443), None, False),
    "raw bytes": (Request("h7.example.com", 443, "tcp"), None, False),
}


@pytest.mark.parametrize("case", ASKED)
def test_a_decision_takes_as_many_steps_with_ten_thousand_rules_as_with_few(case):
    request, texts, allowed = ASKED[case]
    addresses = texts and [ip_address(text) for text in texts]
    few, decision = instructions(compiled_of(FEW).decide, request, addresses, TODAY)
    many, same = instructions(compiled_of(MANY).decide, request, addresses, TODAY)
    assert decision == same
    assert decision.allowed == allowed
    assert few == many > 100


@pytest.mark.parametrize("host", ["h7.example.com", "evil.example.org", "x.w5.example.com", "api.example.net"])
def test_so_does_a_question_of_the_name_server(host):
    few, answer = instructions(compiled_of(FEW).resolvable, host, TODAY)
    many, same = instructions(compiled_of(MANY).resolvable, host, TODAY)
    assert answer == same == (host == "api.example.net")
    assert few == many > 100


@pytest.mark.parametrize("glob", ["/*a*a*a*a*a*a*a*a*b", "/**a**a**a**a**a**a**b"])
def test_a_path_costs_in_proportion_to_its_length_whatever_the_glob(glob):
    compiled = compile_policy(Policy((Layer("policy web", allow=(Rule("example.com", paths=(glob,)),)),)))

    def steps(length):
        request = Request("example.com", 443, "https", "GET", "/" + "a" * length)
        return instructions(compiled.decide, request, None, TODAY)[0]

    assert 1000 < steps(1000) < steps(4000) < 5 * steps(1000)
