"""DesiredState back to a sandbox.yaml that says everything and loads to itself: what `sbx config` prints.

Everything is absolute and in its long form; env_files are merged into `env`, defaults and chains of templates into
what they come to. Presets are the rules that they make on this host, and what they set is in `env`. The user's and the
machine's enforced policies are not in it: they hold by themselves, wherever they are.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from sandboxfile.model.builtin import BUILTIN_TEMPLATES
from sandboxfile.model.desired import DesiredSandbox, DesiredState
from sandboxfile.model.policy import NO_POLICY, Layer, Rule
from sandboxfile.model.values import GIB, MIB
from sandboxfile.names import is_name

# Text that YAML takes for text without quotes, in every version of YAML.
_BARE = re.compile(r"[A-Za-z_/.][A-Za-z0-9_/.+-]*\Z|[0-9]+[GM]iB\Z")
_NOT_TEXT = re.compile(
    r"(?:true|false|yes|no|on|off|null|y|n|\.+(?:inf|nan)?|[.][0-9_.+-]*(?:e[+-]?[0-9]+)?)\Z", re.IGNORECASE
)


def config(desired: DesiredState) -> dict[str, Any]:
    """The fully resolved file as plain data, for JSON or `to_yaml`."""
    used = {sandbox.template: sandbox for sandbox in desired.sandboxes if sandbox.template not in BUILTIN_TEMPLATES}
    result: dict[str, Any] = {"name": desired.project}
    if used:
        result["templates"] = {name: _template(used[name]) for name in sorted(used)}
    if policies := dict(_named_policies(desired)):
        result["policies"] = {name: policies[name] for name in sorted(policies)}
    result["sandboxes"] = {sandbox.id.name: _sandbox(sandbox) for sandbox in desired.sandboxes}
    escaped: dict[str, Any] = _escaped(result)
    return escaped


def _template(sandbox: DesiredSandbox) -> dict[str, Any]:
    packages = {"packages": {"apt": list(sandbox.image.packages)}} if sandbox.image.packages else {}
    return {"base": sandbox.image.base, **packages, "user": sandbox.user}


def _sandbox(sandbox: DesiredSandbox) -> dict[str, Any]:
    resources = sandbox.resources
    fields: dict[str, Any] = {
        "template": sandbox.template,
        "workspaces": [
            {
                "source": w.source,
                "target": w.target,
                "mode": w.mode,
                **({"protect": list(w.protect)} if w.protect else {}),
            }
            for w in sandbox.workspaces
        ],
        "policy": _own_policy(sandbox.policy.own),
        "env": dict(sandbox.policy.settings) | dict(sandbox.env),
        "resources": {"cpus": resources.cpus, "memory": _size(resources.memory), "disk": _size(resources.disk)},
        "setup": [list(command.argv) for command in sandbox.setup],
        "command": list(sandbox.command.argv) if sandbox.command else [],
        "restart": sandbox.restart,
        "protect": sandbox.protect,
    }
    return {name: value for name, value in fields.items() if value not in ([], {}, "")}


def _named_policies(desired: DesiredState) -> Iterator[tuple[str, dict[str, Any]]]:
    """Policies of the file by name, enforced ones last: the same policy may also be some sandbox's own."""
    layers = [layer for sandbox in desired.sandboxes for layer in sandbox.policy.layers]
    for layer in sorted(dict.fromkeys(layers), key=lambda layer: layer.enforced):
        if name := _name_in_file(layer):
            yield name, {**({"enforce": True} if layer.enforced else {}), **_policy(layer)}


def _name_in_file(layer: Layer) -> str:
    kind, _, name = layer.name.partition(" ")
    return name if kind == "policy" and is_name(name) else ""


def _own_policy(layer: Layer) -> str | dict[str, Any]:
    return "" if layer == NO_POLICY.own else _name_in_file(layer) or _policy(layer)


def _policy(layer: Layer) -> dict[str, Any]:
    lists = {"allow": layer.allow, "block": layer.block, "bypass": layer.bypass}
    return {
        "mode": layer.mode,
        **({"inspect": layer.inspect} if layer.inspect != "full" else {}),
        **{name: [_rule(rule) for rule in rules] for name, rules in lists.items() if rules},
    }


def _rule(rule: Rule) -> str | dict[str, Any]:
    """The short form where that says everything."""
    fields: dict[str, Any] = {
        "protocol": "" if rule.protocol == "http" else rule.protocol,
        "methods": list(rule.methods),
        "paths": list(rule.paths),
        "until": rule.until,
        "reason": rule.reason,
        "owner": rule.owner,
    }
    given = {name: value for name, value in fields.items() if value}
    return {"cidr" if "/" in rule.pattern else "host": rule.pattern, **given} if given else rule.pattern


def _size(count: int) -> str | int:
    for unit, length in (("GiB", GIB), ("MiB", MIB)):
        if count % length == 0:
            return f"{count // length}{unit}"
    return count


def _escaped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    return value.replace("$", "$$") if isinstance(value, str) else value


def to_yaml(data: Mapping[str, Any]) -> str:
    """Plain data (maps, lists, text, whole numbers, booleans) as YAML that reads back to the same data."""
    return "".join(f"{line}\n" for line in _map_lines(data, ""))


def _map_lines(data: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, value in data.items():
        if isinstance(value, dict) and value:
            yield f"{indent}{_scalar(key)}:"
            yield from _map_lines(value, indent + "  ")
        elif isinstance(value, list) and any(isinstance(item, dict) and item for item in value):
            yield f"{indent}{_scalar(key)}:"
            for item in value:
                first, *rest = _map_lines(item, "") if isinstance(item, dict) and item else (_flow(item),)
                yield f"{indent}  - {first}"
                yield from (f"{indent}    {line}" for line in rest)
        else:
            yield f"{indent}{_scalar(key)}: {_flow(value)}"


def _flow(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    return "{}" if value == {} else _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _BARE.match(value) and not _NOT_TEXT.match(value):
        return value
    # A JSON string is a YAML string, but for pairs of \u escapes: those are one character in JSON only.
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)
