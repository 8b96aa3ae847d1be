"""The rules of one policy: patterns that mean something, fields that fit together, rules that do not fight.

Called by `language.policies`.
"""

from collections.abc import Iterator
from dataclasses import replace

from sandboxfile.diagnostics import Diagnostic, error, warning
from sandboxfile.model.spec import Path, PolicyFile, PolicySpec, RuleSpec, SandboxFile
from sandboxfile.policy.checks import parse_target
from sandboxfile.policy.patterns import LOCALHOST, Pattern, PatternProblem, parse_pattern

AnyFile = SandboxFile | PolicyFile
_Parsed = tuple[Path, RuleSpec, Pattern]
_LISTS = ("allow", "block", "bypass")
_HOST_FIELDS = ("port", "protocol", "methods", "paths")  # fields that only a rule for a host has
_CONDITIONS = ("methods", "paths")


def check_rules(file: AnyFile, path: Path, policy: PolicySpec) -> Iterator[Diagnostic]:
    """Everything about the rules and the tests of one policy."""
    parsed: dict[str, list[_Parsed]] = {name: [] for name in _LISTS}
    for name in _LISTS:
        for index, rule in enumerate(getattr(policy, name)):
            place = (*path, name, index)
            yield from _fields(file, place, rule, name)
            if len(_kinds(rule)) != 1 or rule.preset:
                continue
            pattern = parse_pattern(rule.cidr or rule.host)
            if isinstance(pattern, PatternProblem):
                yield error(pattern.summary, pattern.detail, file.span(*place, _field(rule)), pattern.hint)
            else:
                parsed[name].append((place, rule, replace(pattern, port=pattern.port or rule.port or None)))
                yield from _pattern(file, place, rule, pattern, name)
    yield from _contradictions(file, parsed["allow"], parsed["block"])
    yield from _bypassed_conditions(file, parsed)
    yield from _tests(file, path, policy)


def _kinds(rule: RuleSpec) -> list[str]:
    return [field for field in ("host", "cidr", "preset") if field in rule.model_fields_set]


def _field(rule: RuleSpec) -> str:
    return "cidr" if rule.cidr else "host"


def _fields(file: AnyFile, place: Path, rule: RuleSpec, name: str) -> Iterator[Diagnostic]:
    """One of host, cidr and preset, and only fields that go with it."""
    kinds = _kinds(rule)
    if not kinds:
        detail = "A rule says what it is about: `host`, `cidr`" + (" or `preset`." if name == "allow" else ".")
        yield error("Missing field", detail, file.span(*place), "write the host, e.g. {host: api.example.com}")
        return
    for kind in kinds[1:]:
        detail = f"A rule has one of `host`, `cidr` and `preset`; this one has `{kinds[0]}` already."
        yield error("Field not applicable", detail, file.span(*place, kind), "write two rules")
    if kinds[0] == "preset" and name != "allow":
        detail = f"A preset says what may be reached; it cannot stand in `{name}`."
        yield error("Field not applicable", detail, file.span(*place, "preset"), "name the hosts")
    for field in _HOST_FIELDS:
        if field in rule.model_fields_set and kinds[0] != "host":
            detail = f"`{field}` goes with `host`; this rule has `{kinds[0]}`."
            yield error("Field not applicable", detail, file.span(*place, field), f"remove `{field}`")
    if kinds[0] == "host":
        yield from _conditions(file, place, rule, name)


def _conditions(file: AnyFile, place: Path, rule: RuleSpec, name: str) -> Iterator[Diagnostic]:
    for field in _CONDITIONS:
        if field not in rule.model_fields_set:
            continue
        span = file.span(*place, field)
        if not getattr(rule, field):
            detail = f"An empty list of {field} would match nothing."
            yield error("Empty list", detail, span, f"remove `{field}` for a rule about all of them")
        elif rule.protocol == "tcp":
            detail = f"Raw TCP has no {field}."
            yield error("Field not applicable", detail, span, f"remove `{field}`, or `protocol: tcp`")
        elif name == "bypass":
            detail = f"What is passed on untouched cannot be judged by its {field}."
            yield error("Field not applicable", detail, span, f"remove `{field}`, or put the rule into `allow`")
    if name == "bypass" and rule.protocol == "tcp":
        detail = "Raw TCP is never intercepted, so it needs no bypass."
        yield error("Field not applicable", detail, file.span(*place, "protocol"), "put the rule into `allow`")


def _pattern(file: AnyFile, place: Path, rule: RuleSpec, pattern: Pattern, name: str) -> Iterator[Diagnostic]:
    """What the pattern must be in this rule of this list."""
    span = file.span(*place, _field(rule))
    if rule.cidr and pattern.kind != "range":
        detail = f"`{rule.cidr}` is not a range of addresses."
        yield error("Not a range", detail, span, f"write {{host: {rule.cidr}}}, or a range such as 203.0.113.0/24")
    if rule.host and pattern.kind == "range":
        yield error("Not a host", f"`{rule.host}` is a range of addresses.", span, f"write {{cidr: {rule.host}}}")
    if rule.port and pattern.port is not None:
        detail = f"`{rule.host}` has a port already."
        yield error("Port given twice", detail, file.span(*place, "port"), "remove `port`")
    port = pattern.port or rule.port
    if rule.host and rule.protocol == "tcp" and not port:
        hint = f'write {{host: "{rule.host}", port: PORT, protocol: tcp}}'
        yield error("Port missing", "A rule for raw TCP needs a port.", span, hint)
    if name == "allow" and (pattern.kind, pattern.name) == ("host", LOCALHOST) and not port:
        detail = "This host itself is reached port by port: a rule for `localhost` without one allows nothing."
        yield error("Port missing", detail, span, "write localhost:PORT")


def _contradictions(file: AnyFile, allow: list[_Parsed], block: list[_Parsed]) -> Iterator[Diagnostic]:
    """The same pattern allowed and blocked, without conditions: one of the two is a mistake."""
    allowed = {
        (pattern.text, rule.protocol): place for place, rule, pattern in allow if not (rule.methods or rule.paths)
    }
    for place, rule, pattern in block:
        other = allowed.get((pattern.text, rule.protocol))
        if other is None or rule.methods or rule.paths:
            continue
        span = file.span(*other)
        detail = f"`{pattern.text}` is allowed as well, on line {span.line if span else '?'}. The block wins."
        yield warning("Allowed and blocked", detail, file.span(*place), "remove one of the two")


def _bypassed_conditions(file: AnyFile, parsed: dict[str, list[_Parsed]]) -> Iterator[Diagnostic]:
    """A host that is passed on untouched and has rules about methods or paths, which nobody could then see."""
    conditional: dict[str, list[_Parsed]] = {}
    for item in (*parsed["allow"], *parsed["block"]):
        if (item[1].methods or item[1].paths) and item[1].protocol == "http":
            conditional.setdefault(_host(item[2]), []).append(item)
    for place, rule, pattern in parsed["bypass"]:
        for other, _, judged in conditional.get(_host(pattern), ()) if pattern.kind != "range" else ():
            if None in (pattern.port, judged.port) or pattern.port == judged.port:
                span = file.span(*other)
                line = span.line if span else "?"
                detail = f"`{rule.pattern}` has a rule with methods or paths on line {line}, which needs interception."
                yield error("Bypass of a judged host", detail, file.span(*place), "remove one of the two")
                break


def _host(pattern: Pattern) -> str:
    """The pattern without its port."""
    return replace(pattern, port=None).text


def _tests(file: AnyFile, path: Path, policy: PolicySpec) -> Iterator[Diagnostic]:
    for name in ("allow", "deny"):
        for index, text in enumerate(getattr(policy.tests, name)):
            target = parse_target(text)
            if isinstance(target, PatternProblem):
                span = file.span(*path, "tests", name, index)
                yield error(target.summary, target.detail, span, target.hint)
