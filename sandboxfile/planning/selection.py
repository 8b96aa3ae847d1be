"""Which sandboxes of a file are meant: by name, by profile, and with what they wait for. Called by `plan`, and by `up`.

As in Compose: a sandbox with profiles is there when one of them is asked for, or when it is named. Otherwise than there
whatever a named sandbox waits for comes with it, of whatever profile. What is not meant is left as it is.
"""

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from sandboxfile.diagnostics import Diagnostic, error
from sandboxfile.model.desired import DesiredSandbox, DesiredState
from sandboxfile.model.observed import ObservedSandbox
from sandboxfile.model.plan import PlanOptions

ALL_PROFILES = "*"


@dataclass(frozen=True, slots=True)
class Selection:
    """`chosen` by name, sorted; the names among them that are to be made `anew`; what is wrong with what was asked."""

    chosen: tuple[DesiredSandbox, ...] = ()
    anew: frozenset[str] = frozenset()
    problems: tuple[Diagnostic, ...] = ()


def select(desired: DesiredState, options: PlanOptions) -> Selection:
    """What `options` mean of the file. Names of what is scaled mean all of its replicas."""
    specs = {spec.id.name: spec for spec in sorted(desired.sandboxes, key=lambda spec: spec.id)}
    known = meanings(desired)
    asked = dict.fromkeys((*options.only, *options.replace))
    problems = [_unknown(name, known) for name in asked if name not in known]
    if options.only:
        named = [replica for name in options.only for replica in known.get(name, ())]
        chosen = _with_dependencies(specs, named)
    else:
        chosen = {name for name, spec in specs.items() if _is_active(spec, options.profiles)}
        # What is taken down is taken down whatever it waits for, and whoever asked for that.
        problems += _left_out(specs, chosen) if options.goal == "up" else ()
    anew = frozenset(replica for name in options.replace for replica in known.get(name, ()))
    return Selection(tuple(spec for name, spec in specs.items() if name in chosen), anew, tuple(problems))


def meanings(desired: DesiredState) -> Mapping[str, tuple[str, ...]]:
    """The sandboxes that each name stands for: itself, or the replicas of what is scaled."""
    found: dict[str, tuple[str, ...]] = {}
    for spec in desired.sandboxes:
        found[spec.id.name] = (spec.id.name,)
        if spec.service:
            found[spec.service] = (*found.get(spec.service, ()), spec.id.name)
    return found


def is_named(found: ObservedSandbox, names: Collection[str]) -> bool:
    """Whether one that is there is meant by a name: its own, or that of what it is a replica of."""
    return found.id.name in names or (found.applied is not None and found.applied.spec.service in names)


def _is_active(spec: DesiredSandbox, profiles: Collection[str]) -> bool:
    return not spec.profiles or ALL_PROFILES in profiles or not set(profiles).isdisjoint(spec.profiles)


def _with_dependencies(specs: Mapping[str, DesiredSandbox], names: Collection[str]) -> set[str]:
    chosen: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name in specs and name not in chosen:
            chosen.add(name)
            pending += [each.name for each in specs[name].depends_on]
    return chosen


def _left_out(specs: Mapping[str, DesiredSandbox], chosen: Collection[str]) -> Iterator[Diagnostic]:
    """Nobody is started without what it waits for, and no profile is asked for by somebody else."""
    for name in sorted(chosen):
        for each in specs[name].depends_on:
            if each.name in specs and each.name not in chosen:
                profiles = specs[each.name].profiles
                detail = f"{name!r} waits for {each.name!r}, which is there with {_listed(profiles)} only"
                yield error("Profile not asked for", detail, hint=f"--profile {profiles[0]}; or name it: sbx up {name}")


def _listed(profiles: tuple[str, ...]) -> str:
    return f"the profile{'s' if len(profiles) > 1 else ''} {' or '.join(profiles)}"


def _unknown(name: str, known: Collection[str]) -> Diagnostic:
    near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}?" if near else f"it has: {', '.join(sorted(known)) or 'none'}"
    return error("Unknown sandbox", f"the file has no sandbox {name!r}", hint=hint)
