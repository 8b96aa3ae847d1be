"""References between network policies: do they exist, do they go round in circles, are they given where they may be.

Called by `language.validate`, for sandbox files and policy files alike; `rules` looks at what a policy says. What
depends on the day or on this host (rules that have expired, presets) is found by `resolve`.
"""

from collections.abc import Collection, Iterator

from sandboxfile.diagnostics import Diagnostic, error
from sandboxfile.language.explain import did_you_mean
from sandboxfile.language.rules import check_rules
from sandboxfile.language.tree import Table, keys
from sandboxfile.model.spec import EXTENDS_LIMIT, Path, PolicyFile, SandboxFile, used_policies, written_policies

_SHOWN = 8  # names of a circle


def check_policies(file: SandboxFile | PolicyFile, root: Table, known: Collection[str]) -> Iterator[Diagnostic]:
    """Everything about the policies of a file; `known` are the names that files beneath this one define.

    Names come from `root`, the whole tree: what refers to a policy with an error of its own is no second error.
    """
    names = {*keys(root, "policies"), *known}
    for path, name in _uses(file):
        if name not in names:
            hint = did_you_mean(name, names) or _listed(names)
            yield error("Unknown policy", f"There is no policy `{name}`.", file.span(*path), hint)
    yield from _chains(file)
    for path, policy in written_policies(file):
        yield from check_rules(file, path, policy)
        if path[0] != "policies" and policy.enforce:
            detail = "Enforced is a policy that has a name, for every sandbox; this one is for one place only."
            hint = "move it to `policies:`, or remove `enforce`"
            yield error("Field not applicable", detail, file.span(*path, "enforce"), hint)


def check_default_policy(file: PolicyFile, may_choose: bool) -> Iterator[Diagnostic]:
    """Only the user's file says which policy those sandboxes get that name none."""
    if "default_policy" in file.model_fields_set and not may_choose:
        detail = "The machine's file does not choose a policy for sandboxes that name none; the user's file does."
        hint = "a policy with `enforce: true` holds every sandbox"
        yield error("Field not applicable", detail, file.span("default_policy"), hint)


def _uses(file: SandboxFile | PolicyFile) -> Iterator[tuple[Path, str]]:
    if isinstance(file, SandboxFile):
        yield from ((path, used) for path, used in used_policies(file) if isinstance(used, str))
    elif "default_policy" in file.model_fields_set:
        yield ("default_policy",), file.default_policy
    for path, policy in written_policies(file):
        for index, name in enumerate(policy.extends):
            yield (*path, "extends", index), name


def _listed(names: Collection[str]) -> str:
    return f"the policies are {', '.join(sorted(names))}" if names else "write it under `policies:`"


def _chains(file: SandboxFile | PolicyFile) -> Iterator[Diagnostic]:
    """Policies that stand on themselves, and towers of policies. No recursion: the file chooses the depth."""
    depths: dict[str, int] = {}  # of the policies that are done
    for start in file.policies:
        trail: dict[str, Iterator[str]] = {}  # from `start` down to where we are: what each still has to visit
        pending = iter((start,))
        while True:
            name = next(pending, None)
            if name is None:
                if not trail:
                    break
                done, _ = trail.popitem()
                pending = next(reversed(trail.values()), iter(()))
                depths[done] = 1 + max((depths.get(base, 0) for base in file.policies[done].extends), default=0)
                if depths[done] == EXTENDS_LIMIT + 1:
                    detail = f"`{done}` stands on policies more than {EXTENDS_LIMIT} deep."
                    yield error("Nested too deeply", detail, file.span("policies", done, "extends"))
            elif name in trail:
                detail = f"A policy cannot extend itself: {_circle([*trail], name)}."
                span = file.span("policies", next(reversed(trail)), "extends")
                yield error("Policy cycle", detail, span, "remove one `extends`")
            elif name in file.policies and name not in depths:
                pending = trail[name] = iter(file.policies[name].extends)


def _circle(trail: list[str], name: str) -> str:
    names = trail[trail.index(name) :]
    shown = [f"`{part}`" for part in names[:_SHOWN]]
    return " -> ".join([*shown, *(["…"] if len(names) > _SHOWN else []), f"`{name}`"])
