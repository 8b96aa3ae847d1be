"""Rules that nobody wrote: the hosts of a sandbox's agent and of its secrets, in its own layer.

They open what is needed and never more than somebody wants: where a rule of the same layer names the very host, what
is written there holds instead, be it narrower, wider, or a block.
"""

from dataclasses import replace

from sandboxfile.model.policy import Layer, Rule
from sandboxfile.policy.patterns import Pattern, parse_pattern

AGENT, SECRET = "agent ", "secret "  # what their origins begin with


def is_implied(rule: Rule) -> bool:
    """Whether a rule is there because of an agent or a secret."""
    return rule.origin.startswith((AGENT, SECRET))


def settled(layer: Layer) -> Layer:
    """The layer without those implied rules whose host it speaks of otherwise."""
    if not any(map(is_implied, layer.allow)):
        return layer
    written = {
        rule.pattern for rule in (*layer.allow, *layer.block) if rule.protocol == "http" and not is_implied(rule)
    }
    kept = tuple(rule for rule in layer.allow if not is_implied(rule) or written.isdisjoint(_spellings(rule.pattern)))
    return replace(layer, allow=kept)


def without_implied(layer: Layer) -> Layer:
    """The layer as it is written."""
    return replace(layer, allow=tuple(rule for rule in layer.allow if not is_implied(rule)))


def _spellings(text: str) -> set[str]:
    """The pattern, and the same for every port."""
    pattern = parse_pattern(text)
    return {text, replace(pattern, port=None).text} if isinstance(pattern, Pattern) else {text}
