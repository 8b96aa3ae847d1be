"""Sandboxes that are asleep, or whose work has failed: which are as wanted like that, and which others need. Pure.

Asleep is stopped because nothing was done in it for its `idle_stop`. Nobody starts it for that it is stopped, and its
changes are written down for the next start, which comes with the next use of it. A main process
that has failed is run again for those alone that wait for its completion, as Compose does it.
"""

from collections.abc import Collection, Iterable, Mapping

from sandboxfile.model.desired import DesiredSandbox
from sandboxfile.model.observed import Applied, ObservedSandbox
from sandboxfile.names import SandboxId


def sleeps_on(spec: DesiredSandbox, found: ObservedSandbox, applied: Applied) -> bool:
    """Whether a sandbox is as wanted without being started: nothing is to be done in it that needs it to run."""
    if not (found.asleep and spec.idle_stop) or applied.setup_done < len(applied.spec.setup):
        return False
    # Its main process had ended, and its end was good enough: another one is to run, and so is one that always does.
    return spec.command is None or (spec.command == applied.spec.command and spec.restart != "always")


def needed(
    specs: Iterable[DesiredSandbox], beginning: Collection[str], found: Mapping[SandboxId, ObservedSandbox]
) -> tuple[frozenset[str], Mapping[str, str]]:
    """What others depend on that are `beginning`, or begin for others: the names of those that are woken for it.

    And of those whose main process has failed, which is run again where it is to complete, with the reason.
    """
    by_name = {spec.id.name: spec for spec in specs}
    woken: set[str] = set()
    again: dict[str, str] = {}
    pending = list(beginning)
    while pending:
        spec = by_name.get(pending.pop())
        for each in spec.depends_on if spec is not None else ():
            other = by_name.get(each.name)
            there = found.get(other.id) if other is not None else None
            if there is None or spec is None or each.name in woken or each.name in again:
                continue
            if there.asleep:
                woken.add(each.name)
            elif each.condition == "completed" and (code := _failed(there)) is not None:
                again[each.name] = f"its main process exited with {code}, and {spec.id.name} waits for it to complete"
            else:
                continue
            pending.append(each.name)
    return frozenset(woken), again


def _failed(found: ObservedSandbox) -> int | None:
    """With what its main process ended, where that was a failure, and for good."""
    main = found.machine.main if found.machine is not None else None
    return main.exit_code if main is not None and main.status == "exited" and main.exit_code != 0 else None
