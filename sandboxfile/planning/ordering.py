"""The steps of several sandboxes in one order: who waits for whom, and how `depends_on` is kept. Pure.

A sandbox is started when all is done of what it depends on, and when that is healthy, or has completed, where it asks
for it. What is stopped or deleted goes the other way round: dependents first. What depends on a sandbox that is started
anew is not touched for that.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sandboxfile.model.desired import Condition, Dependency
from sandboxfile.model.observed import Machine
from sandboxfile.model.plan import DeleteSandbox, RunSetup, StartMain, StartSandbox, Step, StopSandbox, WaitFor
from sandboxfile.names import SandboxId

BEGINS = (StartSandbox, RunSetup, StartMain)
_ENDS = (StopSandbox, DeleteSandbox)
_Edge = tuple[str, str]  # a step, and one that it needs, by their keys
_WORDS: Mapping[Condition, str] = {"healthy": "to be healthy", "completed": "to complete", "started": "to start"}


@dataclass(frozen=True, slots=True)
class Chain:
    """The steps of one sandbox. `waits` is what its start waits for; `was_waiting` what it did when it was started."""

    id: SandboxId
    steps: tuple[Step, ...]
    waits: tuple[Dependency, ...] = ()
    was_waiting: tuple[Dependency, ...] = ()
    machine: Machine | None = None


def ordered(chains: Iterable[Chain]) -> list[Step]:
    """All steps, with those that wait for a condition, so that none stands before one that it needs."""
    by_name = {chain.id.name: chain for chain in chains}
    steps = [step for chain in by_name.values() for step in chain.steps]
    waiting = {wait.key: wait for _, other, each in _pairs(by_name) if (wait := _wait(other, each.condition))}
    edges = [*_starts(by_name), *_ends(by_name)]
    used = {need for _, need in edges}
    return _joined([*steps, *(wait for key, wait in waiting.items() if key in used)], edges)


def _pairs(chains: Mapping[str, Chain], *, before: bool = False) -> Iterator[tuple[Chain, Chain, Dependency]]:
    """Who waits for whom among these; or who did `before`."""
    for chain in chains.values():
        for each in chain.was_waiting if before else chain.waits:
            if each.name in chains and each.name != chain.id.name:
                yield chain, chains[each.name], each


def _starts(chains: Mapping[str, Chain]) -> Iterator[_Edge]:
    for chain, other, each in _pairs(chains):
        begin = next((step.key for step in chain.steps if isinstance(step.operation, BEGINS)), None)
        if begin is not None:
            wait = _wait(other, each.condition)
            yield from ((begin, step.key) for step in ([wait] if wait else other.steps[-1:]))


def _ends(chains: Mapping[str, Chain]) -> Iterator[_Edge]:
    for chain, other, _ in _pairs(chains, before=True):
        mine = [step.key for step in chain.steps if isinstance(step.operation, _ENDS)]
        theirs = next((step.key for step in other.steps if isinstance(step.operation, _ENDS)), None)
        if mine and theirs is not None:
            yield theirs, mine[-1]


def _wait(other: Chain, condition: Condition) -> Step | None:
    """The step that waits for a condition; None when it holds, and nothing is going to be done that could change it."""
    begins = any(isinstance(step.operation, BEGINS) for step in other.steps)
    if condition == "started" or (not begins and _holds(other.machine, condition)):
        return None
    key = f"wait for {other.id.name} {_WORDS[condition]}"
    needs = tuple(step.key for step in other.steps[-1:])
    return Step(key, WaitFor(other.id, condition), "others are started after that", needs)


def _holds(machine: Machine | None, condition: Condition) -> bool:
    if machine is None or machine.health != "running":
        return False
    if condition == "healthy":
        return machine.check == "healthy"
    return machine.main.status == "exited" and machine.main.exit_code == 0


# --- graphs ------------------------------------------------------------------------------------------------------


def _joined(steps: list[Step], edges: Sequence[_Edge]) -> list[Step]:
    """The steps with these needs as well, sorted. Nobody waits for ever: what would make a circle is left out.

    Records of different times may wait for each other, and so may who passes on a volume and who depends on that.
    """
    found = _sorted(steps, edges)
    if found is not None:
        return found
    kept: list[_Edge] = []
    for edge in edges:
        kept += [edge] if _sorted(steps, [*kept, edge]) is not None else []
    found = _sorted(steps, kept)
    assert found is not None, "without our edges there is no circle"
    return found


def _sorted(steps: list[Step], edges: Sequence[_Edge]) -> list[Step] | None:
    """As they are, but for those that stand before one that they need; None when there is a circle."""
    more: dict[str, list[str]] = {}
    for key, need in edges:
        more.setdefault(key, []).append(need)
    by_key = {step.key: step for step in steps}
    by_key |= {key: replace(by_key[key], needs=tuple(dict.fromkeys((*by_key[key].needs, *more[key])))) for key in more}
    places: dict[str, int] = {}
    for key in _depth_first({key: step.needs for key, step in by_key.items()}):
        places[key] = len(places)
    if any(places[need] > places[key] for key, step in by_key.items() for need in step.needs):
        return None
    return [by_key[key] for key in places if key in by_key]


def _depth_first(edges: Mapping[str, Iterable[str]]) -> list[str]:
    """Everything after what it leads to, where there is no circle. Without recursion: chains may be long."""
    found: dict[str, None] = {}
    entered: set[str] = set()
    for start in edges:
        trail = [(start, iter(edges[start]))] if start not in entered else []
        entered.add(start)
        while trail:
            name, rest = trail[-1]
            deeper = next((other for other in rest if other not in entered), None)
            if deeper is None:
                found[name] = None
                trail.pop()
            else:
                entered.add(deeper)
                trail.append((deeper, iter(edges.get(deeper, ()))))
    return list(found)
