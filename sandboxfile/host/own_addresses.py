"""Addresses of this host itself: those of its network devices, which no list of ranges can know beforehand.

What listens on all of them is as close to a sandbox as what listens on loopback, and is guarded in the same way: only a
rule that names the host exactly, or a range that somebody wrote, opens them. Asked by the gateway for each connection,
and by `sbx policy explain`, so that both say the same.
"""

import errno
import socket
from dataclasses import replace
from ipaddress import ip_address, ip_network

from sandboxfile.model.policy import Decision, Policy
from sandboxfile.policy.patterns import Address, target


def guarded(decision: Decision, policy: Policy) -> Decision:
    """What was decided by `policy`, denied when it leads to this host by no rule for that very place."""
    if not decision.allowed or is_exact(decision):
        return decision
    for text in decision.addresses:
        address = ip_address(text)
        if is_own(address) and not _in_an_allowed_range(address, policy):
            found = text if decision.host == text else f"{decision.host} leads to {text}, which"
            reason = (
                f"{found} is an address of this host, blocked by default: "
                "only an exact-host rule or an allowed range lets it through"
            )
            return replace(decision, allowed=False, rule="default block", layer="default", place="", reason=reason)
    return decision


def is_exact(decision: Decision) -> bool:
    """Whether it was made by a rule that names this very host."""
    return decision.rule in (decision.host, target(decision.host, decision.port))


def is_own(address: Address) -> bool:
    """Whether an address belongs to this host now. When the kernel does not say, it does."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))  # only its own may be bound (but for net.ipv4.ip_nonlocal_bind)
    except OSError as exc:
        return exc.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL)
    return True


def _in_an_allowed_range(address: Address, policy: Policy) -> bool:
    patterns = (rule.pattern for rule in policy.own.allow if "/" in rule.pattern)
    return any(address in ip_network(pattern) for pattern in patterns)
