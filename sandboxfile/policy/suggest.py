"""The smallest rules for what a sandbox was seen to do, for a person to review. Nothing here changes a policy.

Suggested are exact hosts only. What a rule blocks, what an enforced layer denies and what is never dialled is left
out: the one is meant, the others no rule of the sandbox can change.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sandboxfile.model.policy import Decision, Layer, Policy, Request, Rule, RuleProtocol
from sandboxfile.policy.addresses import DEFAULT_BLOCKED, Address
from sandboxfile.policy.compiled import compile_policy
from sandboxfile.policy.patterns import LOCALHOST, literal, target

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_SIBLINGS = 3  # names below one parent that make a wildcard worth a remark
_FAR_DAY = "9999-12-31"  # on which no rule with an end counts any more
_Group = tuple[str, RuleProtocol, int | None]


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One rule of `allow`. `port` None: several ports were seen. `methods`: those seen, when all of them only read.

    `count`: how many requests it is for. `reason`: what was seen, and what to mind.
    """

    host: str
    port: int | None
    protocol: RuleProtocol
    methods: tuple[str, ...]
    reason: str
    count: int

    @property
    def pattern(self) -> str:
        """As it is written in a rule."""
        return target(self.host, self.port)


def suggest(policy: Policy, seen: Sequence[Request], today: str = _FAR_DAY) -> tuple[Suggestion, ...]:
    """Rules that allow what was seen and no rule of the policy allows on that day, by host. Mode allow is no rule."""
    strict = replace(policy.own, mode="deny")
    now = compile_policy(_with(policy, strict))
    missing = [(request, host) for request in seen if (host := _missed(now.decide(request, None, today)))]
    rules = {
        Rule(target(host, request.port), "tcp" if request.protocol == "tcp" else "http") for request, host in missing
    }
    after = compile_policy(_with(policy, replace(strict, allow=(*strict.allow, *rules))))
    groups: dict[_Group, list[Request]] = defaultdict(list)
    for request, host in missing:
        if after.decide(request, None, today).allowed:
            groups[_group(request, host)].append(request)
    made = [_suggestion(group, requests) for group, requests in groups.items()]
    return _remarked(sorted(made, key=lambda each: (each.host, each.port or 0, each.protocol)))


def _with(policy: Policy, own: Layer) -> Policy:
    return replace(policy, layers=(*policy.layers[:-1], own))


def _missed(decision: Decision) -> str | None:
    """The host, when it was refused for lack of a rule."""
    return decision.host if not decision.allowed and decision.rule in ("mode deny", "localhost") else None


def _group(request: Request, host: str) -> _Group:
    """What one rule is for. Raw TCP and the host's own ports are opened one by one."""
    if request.protocol == "tcp":
        return host, "tcp", request.port
    return host, "http", request.port if host == LOCALHOST else None


def _suggestion(group: _Group, requests: Sequence[Request]) -> Suggestion:
    host, protocol, _ = group
    ports = sorted({request.port for request in requests})
    methods = {request.method for request in requests}
    known = tuple(sorted(method for method in methods if method in _READING))
    listed = ", ".join(str(port) for port in ports)
    often = "once" if len(requests) == 1 else f"{len(requests)} times"
    reason = f"seen {often} on port{'s' if len(ports) > 1 else ''} {listed}{_caution(host)}"
    return Suggestion(
        host,
        ports[0] if len(ports) == 1 else None,
        protocol,
        known if len(known) == len(methods) and protocol == "http" else (),
        reason,
        len(requests),
    )


def _caution(host: str) -> str:
    if host == LOCALHOST:
        return "; this is a port of the host itself"
    address = literal(host)
    return "; this address is private" if address is not None and _private(address) else ""


def _private(address: Address) -> bool:
    return any(address in network for network in DEFAULT_BLOCKED if network.version == address.version)


def _remarked(made: Sequence[Suggestion]) -> tuple[Suggestion, ...]:
    """With a remark where a wildcard would be shorter. It would allow more than was seen, so it is not suggested."""
    parents = Counter(parent for host in {each.host for each in made} if (parent := _parent(host)))
    return tuple(
        replace(
            each, reason=f'{each.reason}; "*.{parent}" would allow {parents[parent]} hosts that were seen, and others'
        )
        if (parent := _parent(each.host)) and parents[parent] >= _SIBLINGS
        else each
        for each in made
    )


def _parent(host: str) -> str:
    """The name above a host, when it is not as short as a public suffix looks; else empty."""
    parent = host.partition(".")[2]
    return parent if literal(host) is None and _registrable(parent.split(".")) else ""


def _registrable(labels: Sequence[str]) -> bool:
    """Whether a name looks like somebody's own: two labels or more, but not such as `co.uk`."""
    return len(labels) > 2 or (len(labels) == 2 and not (len(labels[0]) <= 3 and len(labels[1]) == 2))
