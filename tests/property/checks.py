"""What must hold: while a plan is executed, and of a sandbox in the end."""

import os
from collections.abc import Callable, Iterator
from typing import Any

from sandboxfile.model.desired import NO_AGENT, Command, DesiredSandbox
from sandboxfile.model.events import Event, Outcome, StepFailed, StepFinished, StepSkipped, StepStarted
from sandboxfile.model.fingerprint import fingerprint
from sandboxfile.model.plan import CreateSandbox, Plan, SetPolicy, StartSandbox, UpdateRecord
from sandboxfile.names import SandboxId
from sandboxfile.secrets.needs import env_values

from .attempt import ATTEMPT
from .fake_supervisor import Box


class Broken(AssertionError):
    """Something happened that must not."""


class Watch:
    """What an executor may do with one plan."""

    def __init__(
        self,
        plan: Plan,
        parallel: int,
        check: Callable[[bool, str], None],
        observation: Callable[[], str],
        boxes: dict[SandboxId, Box],
    ) -> None:
        self._observation, self._boxes = observation, boxes
        self._stale = now if (now := observation()) != plan.observation else None
        self._policies = {step.key: step.operation for step in plan.steps if isinstance(step.operation, SetPolicy)}
        self._confirmed: dict[str, int] = {}  # how many policies had been confirmed when a step began
        self._needs = {step.key: step.needs for step in plan.steps}
        self._starts = {step.key: step.operation.id for step in plan.steps if isinstance(step.operation, StartSandbox)}
        self._waits = dict(_waits(plan, boxes))
        self._parallel, self._check = parallel, check
        self.open: dict[str, None] = {}
        self.ends: dict[str, str] = {}
        check(len(self._needs) == len(plan.steps), "keys of steps are not unique")

    def see(self, event: Event) -> None:
        match event:
            case StepStarted(key):
                self._begin()
                self._check(key not in self.open and key not in self.ends, f"{key} starts twice")
                early = [need for need in self._needs[key] if self.ends.get(need) != "done"]
                self._check(not early, f"{key} starts before {early}")
                self.open[key] = None
                self._check(not self._too_early(key), f"{key} starts before {self._too_early(key)}")
                if key in self._policies:
                    self._confirmed[key] = len(self._box(key).confirmed)
                self._check(len(self.open) <= self._parallel, "more steps at once than allowed")
            case StepFinished(key):
                self._end(key, "done")
                if key in self._policies:
                    since = self._box(key).confirmed[self._confirmed[key] :]
                    held = fingerprint(self._policies[key].policy) in since
                    self._check(held, f"{key} is done, and the gateway has not confirmed it")
            case StepFailed(key):
                self._end(key, "failed")
            case StepSkipped(key):
                self.ends[key] = "skipped"

    def _too_early(self, key: str) -> list[str]:
        """Starts of this plan that it depends on, and that are not done."""
        names = self._waits.get(self._starts[key], ()) if key in self._starts else ()
        return [other for other, id in self._starts.items() if id.name in names and self.ends.get(other) != "done"]

    def _box(self, key: str) -> Box:
        return self._boxes.get(self._policies[key].id, Box(None, None))

    def _begin(self) -> None:
        if (attempt := ATTEMPT.get()) is not None:
            attempt.begin_steps()
        if self._stale is not None and not self.ends and not self.open:
            self._check(self._observation() != self._stale, "a stale plan is executed")

    def _end(self, key: str, how: str) -> None:
        self._check(key in self.open, f"{key} ends and never began")
        self.open.pop(key, None)
        self.ends[key] = how

    def agree(self, outcome: Outcome) -> None:
        """The outcome is what was seen, for every step."""
        told = {
            **dict.fromkeys(outcome.done, "done"),
            **dict.fromkeys((key for key, _ in outcome.failed), "failed"),
            **dict.fromkeys(outcome.skipped, "skipped"),
        }
        self._check(told == self.ends and told.keys() == self._needs.keys(), "the outcome is not what happened")


def _waits(plan: Plan, boxes: dict[SandboxId, Box]) -> Iterator[tuple[SandboxId, tuple[str, ...]]]:
    """What sandboxes depend on that are started: by what this plan writes down, else by their record."""
    for id, box in boxes.items():
        if box.record is not None:
            yield id, tuple(each.name for each in box.record.spec.depends_on)
    for step in plan.steps:
        if isinstance(step.operation, CreateSandbox | UpdateRecord):
            yield step.operation.spec.id, tuple(each.name for each in step.operation.spec.depends_on)


def differences(spec: DesiredSandbox, source: str, box: Box) -> Iterator[tuple[str, Any, Any]]:
    """What is compared, as wanted and as it is."""
    record, supervisor, disk = box.record, box.supervisor, box.disk
    if box.asleep and supervisor is None and spec.idle_stop and record is not None and disk is not None:
        yield "record", (spec, source), (record.spec, record.source)
        yield "disk of one that is asleep", (spec.image.digest, True), (disk.image, disk.size >= spec.resources.disk)
        return
    if record is None or supervisor is None or disk is None:
        yield "whole and running", True, (record is not None, supervisor is not None, disk is not None)
        return
    yield "record", spec, record.spec
    yield "source", source, record.source
    yield "health", ("running", False, False), (supervisor.health, supervisor.paused, supervisor.hanging)
    yield "outdated", False, supervisor.outdated
    yield "image", spec.image.digest, disk.image
    yield "size", (spec.resources.cpus, spec.resources.memory), (supervisor.cpus, supervisor.memory)
    yield "disk is large enough", True, disk.size >= spec.resources.disk
    yield "policy", fingerprint(spec.policy), supervisor.policy
    yield "agent", True, spec.agent == NO_AGENT or supervisor.agent_found
    yield "ports", spec.ports, supervisor.ports
    yield "volumes", set(spec.mounts), supervisor.mounts
    given = {name: supervisor.values.get(name) for name in (each.name for each in spec.policy.credentials)}
    yield "values of secrets", dict(env_values(spec.policy.credentials, os.environ)), given
    yield "workspaces", {workspace.target: workspace for workspace in spec.workspaces}, supervisor.devices
    for name in ("env", "user", "restart", "command", "policy", "agent"):
        yield f"the supervisor's {name}", getattr(spec, name), getattr(supervisor.spec, name)
    if spec.command is not None:
        ended_for_good = supervisor.main == "exited" and spec.restart == "no"
        yield "main process", "running", "running" if ended_for_good else supervisor.main


def setup_problem(box: Box) -> str | None:
    """Every setup command ran, in order, once; more often only where one was cut off or the list was edited."""
    assert box.disk is not None
    assert box.record is not None
    disk = box.disk
    if disk.finished is None:
        return f"setup is not finished: {disk.runs}"
    if not disk.disturbed and disk.runs != [(command, True) for command in disk.setup]:
        return f"setup {disk.setup} ran as {disk.runs}"
    if not is_subsequence(disk.finished, [command for command, ended in disk.runs if ended]):
        return f"setup {disk.finished} ran as {disk.runs}"
    return None


def is_subsequence(part: tuple[Command, ...], whole: list[Command]) -> bool:
    rest = iter(whole)
    return all(item in rest for item in part)
