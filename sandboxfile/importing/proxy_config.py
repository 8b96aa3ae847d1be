"""`proxy-config.json` of Docker Sandboxes to a policy: what `docker sandbox network proxy` keeps for a sandbox.

    {"policy": {"default": "allow" | "deny", "logBlocked": BOOL, "logAllowed": BOOL},
     "network": {"allowedDomains": [...], "blockedDomains": [...], "blockedCIDRs": [...], "bypassDomains": [...],
                 "bypassCIDRs": [...]}}

Patterns and their order are the same there and here. Three things are not, and are told: private ranges are blocked
here whether they are listed or not; one that is listed is not blocked once more, for a block of the user's holds even
for hosts that are allowed by name; and a wildcard exempts nothing from ranges.
"""

from posixpath import basename

from sandboxfile.importing.draft import Draft, Source, shown
from sandboxfile.importing.reading import Fields, read_table
from sandboxfile.language.tree import Scalar
from sandboxfile.model.spec import Path
from sandboxfile.policy.addresses import DEFAULT_BLOCKED
from sandboxfile.policy.patterns import PatternProblem, parse_pattern

BLOCKED = frozenset(str(each) for each in DEFAULT_BLOCKED)
_MODES = ("allow", "deny")
_LISTS = (
    ("allowedDomains", "allow"),
    ("blockedDomains", "block"),
    ("blockedCIDRs", "block"),
    ("bypassDomains", "bypass"),
    ("bypassCIDRs", "bypass"),
)
_LOG = "`sbx network log` has all that was allowed and blocked"
_REASONS = {"logBlocked": _LOG, "logAllowed": _LOG}
_UNKNOWN = "this version knows no such setting of Docker's proxy"


def draft(source: Source, draft: Draft) -> None:
    """Fill a draft with one policy, named after the sandbox whose directory the file is in."""
    root = read_table(source, draft)
    if root is None:
        return
    fields = Fields(root, draft)
    name = draft.name("policies", basename(source.directory).lstrip(".") or "imported", "", None)
    path: Path = ("policies", name)
    policy = fields.fields("policy")
    _mode(policy, path, fields, draft)
    network = fields.fields("network")
    if network is not None:
        _rules(network, path, draft)
        network.rest({}, _UNKNOWN)
    if policy is not None:
        policy.rest(_REASONS, _UNKNOWN)
    fields.rest({}, _UNKNOWN)


def _mode(policy: Fields | None, path: Path, fields: Fields, draft: Draft) -> None:
    found = policy.text("default") if policy is not None else None
    if found is None:
        draft.put((*path, "mode"), "deny", "policy.default", None, needed=True)
        draft.leave("policy.default", "the file does not say it; `mode: deny` is written", fields.table.span)
        return
    mode, node = found
    if mode not in _MODES:
        detail = f"`policy.default` is `{shown(mode)}`; it must be `allow` or `deny`."
        draft.wrong("Unknown policy mode", detail, node.span, "write allow or deny")
        return
    draft.put((*path, "mode"), mode, "policy.default", node.span, needed=True)


def _rules(network: Fields, path: Path, draft: Draft) -> None:
    open_ranges = set(BLOCKED)
    listed = network.table.entry("blockedCIDRs")
    for key, field in _LISTS:
        wildcard: Scalar | None = None
        for text, node in network.texts(key):
            if field == "block" and text in BLOCKED:
                open_ranges.discard(text)
                continue
            wildcard = node if key == "allowedDomains" and "*" in text else wildcard
            draft.add((*path, field), text, f"network.{key} {text}", node.span, needed=field == "block")
            if key == "blockedCIDRs" and not isinstance(parse_pattern(text), PatternProblem):
                why = "here it holds for hosts that are allowed by name as well"
                draft.leave(f"network.{key} {text}", why, node.span)
        if wildcard is not None:
            why = "a wildcard opens no private range here; write the exact host for that"
            draft.leave(f"network.{key}", why, wildcard.span)
    if listed is not None and open_ranges:
        ranges = ", ".join(sorted(open_ranges))
        why = f"{ranges} are not in it, and are blocked all the same; `allow` opens an exact host or a range"
        draft.leave("network.blockedCIDRs", why, listed.key_span)
