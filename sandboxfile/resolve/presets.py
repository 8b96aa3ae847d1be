"""Presets as rules: the registries that this host's clients use, each by its exact host and port."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from sandboxfile.diagnostics import Diagnostic, Span, error, warning
from sandboxfile.model.policy import Rule
from sandboxfile.policy.patterns import LOCALHOST, Pattern, canonical_host, literal, parse_pattern
from sandboxfile.resolve.inputs import PresetFacts

ORIGIN = "preset "
SEEN_FROM_INSIDE = "host.docker.internal"  # what this host is called inside, where `localhost` is the sandbox


def preset_rules(preset: str, facts: PresetFacts | None, rule: Rule) -> tuple[Rule, ...]:
    """One rule for each registry, like `rule`."""
    found = (_pattern(registry.url) for registry in (facts.registries if facts else ()))
    patterns = dict.fromkeys(pattern for pattern in found if pattern is not None)
    return tuple(replace(rule, pattern=pattern, origin=f"{ORIGIN}{preset}") for pattern in patterns)


def preset_settings(presets: Collection[str], facts: Mapping[str, PresetFacts]) -> tuple[tuple[str, str], ...]:
    """The environment variables that these presets bring along, sorted by name."""
    settings = {name: value for preset in presets if preset in facts for name, value in facts[preset].settings}
    return tuple(sorted((name, " ".join(map(_inside, value.split()))) for name, value in settings.items()))


_HINT = "write the host, e.g. registry.example.com:443"


def preset_problems(
    preset: str, facts: PresetFacts | None, span: Span | None, hint: str = _HINT
) -> Iterator[Diagnostic]:
    """What is wrong with a preset that is used at `span`; `hint` is what to do where there is no registry."""
    if facts is None or not facts.found:
        detail = f"This host has no {preset} configuration: neither the client nor a configured registry was found."
        yield error("No registry", detail, span, hint)
        return
    for registry in facts.registries:
        if registry.stripped:
            detail = f"{registry.stripped} has credentials for {registry.url}: they stay on the host."
            yield warning("Credentials left out", detail, span, "requests from inside go without them")
        if _pattern(registry.url) is None:
            detail = (
                f"`{registry.url}`, which {preset} is configured for on this host, names no host that can be reached."
            )
            yield warning("Unusable registry", detail, span, f"correct the configuration of {preset}")


def _pattern(url: str) -> str | None:
    """The canonical pattern of a URL's host and port."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)
    except ValueError:
        return None
    found = parse_pattern(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    if not isinstance(found, Pattern) or found.kind != "host":
        return None
    return replace(found, name=LOCALHOST).text if _is_this_host(found.name) else found.text


def _is_this_host(host: str) -> bool:
    canonical = canonical_host(host) or ""
    address = literal(canonical)
    return canonical == LOCALHOST or (address is not None and address.is_loopback)


def _inside(url: str) -> str:
    """The URL as it must be written inside."""
    parts = urlsplit(url)
    if parts.hostname is None or not _is_this_host(parts.hostname):
        return url
    port = f":{parts.port}" if parts.port else ""
    return parts._replace(netloc=SEEN_FROM_INSIDE + port).geturl()
