"""DesiredState back to a sandbox.yaml that says everything and loads to itself: what `sbx config` prints.

Everything is absolute and in its long form; env_files are merged into `env`, defaults into the sandboxes. Templates
keep their bases, for their levels are built one upon the other. Presets are the rules that they make on this host, and
what they set is in `env`, except in policies of templates, where that would become part of the image. What an agent or
a secret brings along is not repeated: it comes of those again. The user's and the machine's enforced policies are not
in it: they hold by themselves, wherever they are.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sandboxfile.agents import find_agent
from sandboxfile.agents.builtin import BUILTIN_TEMPLATES
from sandboxfile.model.credential import Credential
from sandboxfile.model.desired import NO_AGENT, DesiredSandbox, DesiredState, Healthcheck
from sandboxfile.model.durations import duration
from sandboxfile.model.policy import NO_POLICY, Layer, Policy, Rule
from sandboxfile.model.sizes import size
from sandboxfile.model.spec import Build
from sandboxfile.model.template import DesiredTemplate
from sandboxfile.names import is_name
from sandboxfile.policy.implied import SECRET, without_implied
from sandboxfile.resolve.chains import MANAGERS
from sandboxfile.resolve.presets import ORIGIN
from sandboxfile.resolve.render_secrets import render_secret

if TYPE_CHECKING:
    from sandboxfile.resolve.policies import PolicyTest

_POLICY = "policy"  # a layer that has a name in the file is called so, and that
# Text that YAML takes for text without quotes, in every version of YAML.
_BARE = re.compile(r"[A-Za-z_/.][A-Za-z0-9_/.+-]*\Z|[0-9]+[GM]iB\Z")
_NOT_TEXT = re.compile(
    r"(?:true|false|yes|no|on|off|null|y|n|\.+(?:inf|nan)?|[.][0-9_.+-]*(?:e[+-]?[0-9]+)?)\Z", re.IGNORECASE
)


def config(desired: DesiredState, tests: "Iterable[PolicyTest]" = ()) -> dict[str, Any]:
    """The fully resolved file as plain data, for JSON or `to_yaml`. `tests` of its policies that have a name stay."""
    result: dict[str, Any] = {"name": desired.project} if desired.source else {}  # what commands made is in no project
    written = [template for template in desired.templates if template.written is not None]
    if written:
        result["templates"] = {template.name: _template(template) for template in written}
    if policies := dict(_named_policies(desired)):
        tested = {test.name: _tests(test) for test in tests}
        result["policies"] = {name: policies[name] | tested.get(f"{_POLICY} {name}", {}) for name in sorted(policies)}
    listed = {name: credential for item in desired.sandboxes for name, credential in _listed(item.policy)}
    if listed:
        result["secrets"] = {name: render_secret(listed[name]) for name in sorted(listed)}
    if desired.volumes:
        result["volumes"] = {each.id.name: {"size": size(each.size)} for each in desired.volumes}
    env = _variables(desired)
    result["sandboxes"] = {item.id.name: _sandbox(item, env.get(item.template, ())) for item in desired.sandboxes}
    loadable: dict[str, Any] = escaped(result)
    return loadable


def _template(template: DesiredTemplate) -> dict[str, Any]:
    """One level of its chain: what it stands on is printed as well, or built in."""
    written = template.written
    assert written is not None
    given = written.model_fields_set
    fields: dict[str, Any] = {
        "build": _build(written.build) if written.build else {},
        "base": written.base if written.build is None else "",
        "packages": {name: list(getattr(written.packages, name)) for name in MANAGERS},
        "files": [{"source": file.source, "target": file.target, "mode": file.mode} for file in written.files],
        "run": [{"command": list(item.command), "user": item.user} for item in written.run],
        "env": dict(written.env),
        "user": written.user if "user" in given else "",
        "docker": written.docker or "",
        "policy": _build_policy(template.policy) if "policy" in given else "",
    }
    fields["packages"] = {name: packages for name, packages in fields["packages"].items() if packages}
    return {name: value for name, value in fields.items() if value not in ([], {}, "")}


def _build(build: Build) -> dict[str, Any]:
    fields = {
        "context": build.context,
        "dockerfile": build.dockerfile,
        "args": dict(build.args),
        "target": build.target,
    }
    return {name: value for name, value in fields.items() if value not in ({}, "")}


def _build_policy(policy: Policy) -> str | dict[str, Any]:
    """Presets stay presets where they set something: in `env` it would become part of the image."""
    return _policy(policy.own, presets=True) if policy.settings else _own_policy(policy.own)


def _variables(desired: DesiredState) -> dict[str, frozenset[str]]:
    """The names of what templates set, by template. A sandbox that has none of them asks for that."""
    written = {item.name: item.written for item in desired.templates if item.written is not None}
    levels = {**BUILTIN_TEMPLATES, **written}

    def names(template: str) -> frozenset[str]:
        level = levels.get(template)
        return frozenset() if level is None else frozenset(level.env) | names(level.base if not level.build else ":")

    return {template: names(template) for template in levels}


def _listed(policy: Policy) -> Iterator[tuple[str, Credential]]:
    """The secrets of the file, not what the agent finds by itself."""
    for credential in policy.credentials:
        if credential.origin.startswith(SECRET):
            yield credential.name, credential


def _sandbox(sandbox: DesiredSandbox, inherited: Collection[str]) -> dict[str, Any]:
    resources, policy = sandbox.resources, sandbox.policy
    env: dict[str, str | None] = dict.fromkeys([*inherited, *dict(find_agent(sandbox.agent).environment)])
    env.update((name, value) for name, value in policy.settings if name not in policy.placeholders)
    env.update(sandbox.env)
    fields: dict[str, Any] = {
        "agent": sandbox.agent if sandbox.agent != NO_AGENT else "",
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
        "policy": _own_policy(policy.own),
        "secrets": [name for name, _ in _listed(policy)],
        "volumes": [{"volume": mount.volume, "target": mount.target} for mount in sandbox.mounts],
        "ports": [port.text for port in sandbox.ports],
        "env": {name: env[name] for name in sorted(env)},
        "resources": {"cpus": resources.cpus, "memory": size(resources.memory), "disk": size(resources.disk)},
        "setup": [list(command.argv) for command in sandbox.setup],
        "command": list(sandbox.command.argv) if sandbox.command else [],
        "healthcheck": _healthcheck(sandbox.healthcheck) if sandbox.healthcheck else {},
        "depends_on": {each.name: {"condition": each.condition} for each in sandbox.depends_on},
        "restart": sandbox.restart,
        "profiles": list(sandbox.profiles),
        "idle_stop": duration(sandbox.idle_stop) if sandbox.idle_stop else "",
        "protect": sandbox.protect,
    }
    return {name: value for name, value in fields.items() if value not in ([], {}, "")}


def _healthcheck(check: Healthcheck) -> dict[str, Any]:
    return {
        "command": list(check.command.argv),
        "interval": duration(check.interval),
        "timeout": duration(check.timeout),
        "retries": check.retries,
        "start_period": duration(check.start_period),
    }


def _named_policies(desired: DesiredState) -> Iterator[tuple[str, dict[str, Any]]]:
    """Policies of the file by name, enforced ones last: the same policy may also be some sandbox's own."""
    layers = [without_implied(layer) for sandbox in desired.sandboxes for layer in sandbox.policy.layers]
    # Of a build whose policy sets something, its own layer is printed where it is used: see `_build_policy`.
    for template in desired.templates:
        layers += template.policy.layers[:-1] if template.policy.settings else template.policy.layers
    for layer in sorted(dict.fromkeys(layers), key=lambda layer: layer.enforced):
        if name := _name_in_file(layer):
            yield name, {**({"enforce": True} if layer.enforced else {}), **_policy(layer)}


def _name_in_file(layer: Layer) -> str:
    kind, _, name = layer.name.partition(" ")
    return name if kind == _POLICY and is_name(name) else ""


def _own_policy(layer: Layer) -> str | dict[str, Any]:
    layer = without_implied(layer)
    return "" if layer == NO_POLICY.own else _name_in_file(layer) or _policy(layer)


def _policy(layer: Layer, presets: bool = False) -> dict[str, Any]:
    lists = {"allow": layer.allow, "block": layer.block, "bypass": layer.bypass}
    return {
        "mode": layer.mode,
        **({"inspect": layer.inspect} if layer.inspect != "full" else {}),
        **{name: _rules(rules, presets) for name, rules in lists.items() if rules},
    }


def _tests(test: "PolicyTest") -> dict[str, Any]:
    lists = {"allow": test.allow, "deny": test.deny}
    return {"tests": {name: list(requests) for name, requests in lists.items() if requests}}


def _rules(rules: tuple[Rule, ...], presets: bool) -> list[str | dict[str, Any]]:
    found = [_rule(rule, presets and rule.origin.startswith(ORIGIN)) for rule in rules]
    return [rule for index, rule in enumerate(found) if rule not in found[:index]]  # of a preset there are several


def _rule(rule: Rule, preset: bool = False) -> str | dict[str, Any]:
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
    if preset:
        return {"preset": rule.origin.removeprefix(ORIGIN), **given}
    return {"cidr" if "/" in rule.pattern else "host": rule.pattern, **given} if given else rule.pattern


def escaped(value: Any) -> Any:
    """Plain data whose texts mean themselves when they are loaded: `$` written `$$`."""
    if isinstance(value, dict):
        return {key: escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [escaped(item) for item in value]
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
