"""Sandboxes that are asleep: which of them are as wanted like that, and which ones others need awake. Pure.

Asleep is stopped because nothing was done in it for its `idle_stop`. Nobody starts it for that it is stopped, and its
changes are written down for the next start, which comes with the next use of it.
"""

from collections.abc import Collection, Iterable, Mapping

from sandboxfile.model.desired import DesiredSandbox
from sandboxfile.model.observed import Applied, ObservedSandbox
from sandboxfile.model.plan import StartSandbox, Step
from sandboxfile.names import SandboxId


def sleeps_on(spec: DesiredSandbox, found: ObservedSandbox, applied: Applied) -> bool:
    """Whether a sandbox is as wanted without being started: nothing is to be done in it that needs it to run."""
    if not (found.asleep and spec.idle_stop) or applied.setup_done < len(applied.spec.setup):
        return False
    # Its main process had ended, and its end was good enough: another one is to run, and so is one that always does.
    return spec.command is None or (spec.command == applied.spec.command and spec.restart != "always")


def starts(steps: Iterable[Step]) -> bool:
    """Whether a sandbox is started by these steps."""
    return any(isinstance(step.operation, StartSandbox) for step in steps)


def needed_awake(
    specs: Iterable[DesiredSandbox], starting: Collection[str], found: Mapping[SandboxId, ObservedSandbox]
) -> frozenset[str]:
    """The names of those that are asleep, and that others depend on which are `starting`, or are woken for others."""
    by_name = {spec.id.name: spec for spec in specs}
    woken: set[str] = set()
    pending = list(starting)
    while pending:
        spec = by_name.get(pending.pop())
        for name in [each.name for each in spec.depends_on] if spec is not None else ():
            other = by_name.get(name)
            there = found.get(other.id) if other is not None else None
            if name not in woken and there is not None and there.asleep:
                woken.add(name)
                pending.append(name)
    return frozenset(woken)
