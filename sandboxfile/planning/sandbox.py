"""The changes and the steps of one sandbox. Within it steps are a chain: each needs the one before."""

from dataclasses import dataclass, field

from sandboxfile.diagnostics import Diagnostic, error
from sandboxfile.model.desired import NO_AGENT, DesiredSandbox
from sandboxfile.model.fingerprint import fingerprint, short
from sandboxfile.model.observed import Applied, Machine, ObservedSandbox
from sandboxfile.model.plan import (
    Action,
    AttachVolume,
    AttachWorkspace,
    Change,
    CheckAgent,
    CreateSandbox,
    DeleteSandbox,
    DetachVolume,
    DetachWorkspace,
    FieldChange,
    GrowDisk,
    Operation,
    ProvideSecrets,
    ResumeSandbox,
    RunSetup,
    SetPolicy,
    SetPorts,
    StartMain,
    StartSandbox,
    Step,
    StopSandbox,
    UpdateRecord,
)
from sandboxfile.model.sizes import size
from sandboxfile.names import SandboxId
from sandboxfile.planning.changes import (
    attached,
    field_changes,
    given_to,
    held_to_another,
    listened,
    reach_changed,
    reach_of,
)
from sandboxfile.planning.mounts import missing, superfluous
from sandboxfile.planning.sleeping import sleeps_on

PLATFORM_KEY = "prepare platform"


@dataclass(slots=True)
class Part:
    """What planning one sandbox gives: at most one change, its steps in order, refusals.

    `refused`: what its steps would have made of it, where there are none for that.
    """

    id: SandboxId
    changes: list[Change] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    refusals: list[Diagnostic] = field(default_factory=list)
    refused: DesiredSandbox | None = None

    def say(
        self,
        action: Action,
        cause: str,
        fields: tuple[FieldChange, ...] = (),
        loses_disk: bool = False,
        reach: tuple[str, ...] = (),
        checkpoints: int = 0,
    ) -> None:
        sentences = tuple(f"{self.id.name} {sentence}" for sentence in reach)
        subject = f"sandbox {self.id.name}"
        self.changes.append(Change(subject, action, cause, fields, loses_disk, sentences, checkpoints=checkpoints))

    def do(self, key: str, operation: Operation, reason: str, also: tuple[str, ...] = ()) -> None:
        """Append a step that needs the one before it, and `also`."""
        before = (self.steps[-1].key,) if self.steps else ()
        self.steps.append(Step(key, operation, reason, (*before, *also)))


def converge(
    spec: DesiredSandbox,
    source: str,
    found: ObservedSandbox | None,
    allow_destroy: bool,
    content: str = "",
    *,
    anew: bool = False,
    wake: bool = False,
    again: str = "",
) -> Part:
    """Make one sandbox as the file wants it. `content`: the digest of what is in its image, as far as it is known.

    `anew`: replace it also when nothing asks for that. `wake`: start it also when it is asleep, and may be.
    `again`: why its main process, which has ended, is to run once more.
    """
    part = Part(spec.id)
    if found is None:
        part.say("create", "it is in the file and does not exist", reach=given_to(spec) + reach_of(spec.policy))
        _create(part, spec, source, "it does not exist")
        return part
    if found.applied is None:
        part.refusals.append(_unreadable(found))
        return part
    fields = field_changes(spec, found.applied, found.machine, content, found.stale_secrets)
    if cause := _replace_cause(found, fields) or ("you asked for it" if anew else None):
        reach = reach_changed(spec.policy, found.applied.spec.policy)
        part.say("replace", cause, fields, loses_disk=True, reach=reach)
        if guard(part, found, spec.protect, allow_destroy, "replacing"):
            # Nothing is lost for an image that cannot be built.
            take_down(part, found, cause, (PLATFORM_KEY, image_key(spec.image.digest)), keep=bool(source))
            _create(part, spec, source, cause)
        else:
            part.refused = spec
    elif spec.resources.disk < found.applied.spec.resources.disk:
        part.refusals.append(_shrinks(spec, found.applied))
    elif sleeps_on(spec, found, found.applied) and not wake:
        _update_asleep(part, spec, source, found, found.applied, fields)
    else:
        _update(part, spec, source, found, found.applied, fields, again)
    return part


def guard(part: Part, found: ObservedSandbox, protected: bool, allow_destroy: bool, doing: str) -> bool:
    """Whether its disk may be lost; says why not."""
    protected = protected or (found.applied is not None and found.applied.spec.protect)
    if found.applied is None and not allow_destroy:
        part.refusals.append(_unreadable(found))
        return False
    if protected and not allow_destroy:
        part.refusals.append(
            error(
                "Protected sandbox",
                f"{doing} the sandbox {found.id} loses its disk, and it has `protect: true`",
                hint="--allow-destroy does it all the same; `protect: false`, applied first, lifts the protection",
            )
        )
        return False
    return True


def take_down(
    part: Part,
    found: ObservedSandbox,
    reason: str,
    after: tuple[str, ...] = (),
    *,
    keep: bool = False,
    checkpoints: bool = False,
) -> None:
    """Stop it if need be, and delete it or put it aside, both after some shared steps."""
    name = found.id.name
    if found.status != "stopped":
        part.do(f"stop {name}", StopSandbox(found.id), reason, after)
    part.do(f"delete {name}", DeleteSandbox(found.id, keep, checkpoints), reason, after)


def bring_up(part: Part, found: ObservedSandbox, applied: Applied, reason: str) -> None:
    """Start a stopped sandbox and what belongs to a start: unfinished setup, the main process."""
    part.do(f"start {found.id.name}", StartSandbox(found.id), reason, (PLATFORM_KEY,))
    _finish(part, applied.spec, setup=applied.setup_done < len(applied.spec.setup), main=True)


def _create(part: Part, spec: DesiredSandbox, source: str, reason: str) -> None:
    part.do(f"create {spec.id.name}", CreateSandbox(spec, source), reason, (image_key(spec.image.digest),))
    part.do(f"start {spec.id.name}", StartSandbox(spec.id), "it is new", (PLATFORM_KEY,))
    _finish(part, spec, setup=bool(spec.setup), main=True)


def image_key(digest: str) -> str:
    """The key of the step that builds an image."""
    return f"build image {short(digest)}"


def _finish(part: Part, spec: DesiredSandbox, *, setup: bool, main: bool, agent: bool = True, rerun: str = "") -> None:
    if agent and spec.agent != NO_AGENT:
        part.do(f"check agent {spec.id.name}", CheckAgent(spec.id), f"it is to run {spec.agent}")
    if setup:
        part.do(f"set up {spec.id.name}", RunSetup(spec.id), "its setup has not finished")
    if main and spec.command is not None:
        part.do(f"run {spec.id.name}", StartMain(spec.id), rerun or "it has a main process")


def _replace_cause(found: ObservedSandbox, fields: tuple[FieldChange, ...]) -> str | None:
    if not found.disk_present:
        return "its disk has been deleted"
    replacing = [change.path for change in fields if change.effect == "replace"]
    return f"{replacing[0]} changed" if replacing else None


def _update(
    part: Part,
    spec: DesiredSandbox,
    source: str,
    found: ObservedSandbox,
    applied: Applied,
    fields: tuple[FieldChange, ...],
    rerun: str,
) -> None:
    unfinished = setup_done(applied, spec) < len(spec.setup)
    recorded = applied.spec != spec or applied.source != source or _goes_by_another(found.machine, spec)
    reach = reach_changed(spec.policy, applied.spec.policy)
    if found.status == "stopped" or (again := _restart_cause(found, fields)):
        cause = ("it is asleep" if found.asleep else "it is stopped") if found.status == "stopped" else again or ""
        part.say("start" if found.status == "stopped" else "restart", cause, fields, reach=reach)
        _change_stopped(part, spec, found, applied, cause)
        if recorded:
            part.do(f"record {spec.id.name}", UpdateRecord(spec, source), "the next start reads it")
        part.do(f"start {spec.id.name}", StartSandbox(spec.id), cause, (PLATFORM_KEY,))
        _finish(part, spec, setup=unfinished, main=True)
        return
    _change_live(part, spec, found, applied)
    if recorded:  # last, so that an interrupted change is still seen as one
        part.do(f"record {spec.id.name}", UpdateRecord(spec, source), "it is as the file asks now")
    agent = spec.agent != NO_AGENT and (found.machine is None or not found.machine.agent_found)
    due = rerun != "" or main_is_due(spec, found.machine)
    _finish(part, spec, setup=unfinished, main=due, agent=agent, rerun=rerun)
    if rerun:
        part.say("restart", rerun, fields, reach=reach)
    elif part.steps:
        moved = applied.source if applied.source != source else None
        part.say(*_live_words(found, fields, unfinished, moved, recorded, agent), fields, reach=reach)


def _update_asleep(
    part: Part,
    spec: DesiredSandbox,
    source: str,
    found: ObservedSandbox,
    applied: Applied,
    fields: tuple[FieldChange, ...],
) -> None:
    """What changes of one that sleeps on is there when it is started the next time."""
    _change_stopped(part, spec, found, applied, "it is asleep")
    recorded = applied.spec != spec or applied.source != source
    if recorded:
        part.do(f"record {spec.id.name}", UpdateRecord(spec, source), "the next start reads it")
    if part.steps:
        moved = applied.source if applied.source != source else None
        reach = reach_changed(spec.policy, applied.spec.policy)
        part.say(*_live_words(found, fields, False, moved, recorded, False), fields, reach=reach)


def _live_words(
    found: ObservedSandbox,
    fields: tuple[FieldChange, ...],
    unfinished: bool,
    moved: str | None,
    recorded: bool,
    agent: bool,
) -> tuple[Action, str]:
    if found.status == "paused":
        return "resume", "its machine is paused"
    if found.status == "starting":
        return "start", "it is still starting"
    if fields:
        return "update", f"{fields[0].path} changed" if len(fields) == 1 else f"{len(fields)} fields changed"
    if unfinished:
        return "update", "its setup has not finished"
    if moved is not None:
        return "update", f"its file was {moved} before"
    if recorded:
        return "update", "an earlier apply was interrupted"
    return "update", "its agent has not been found" if agent else "its main process does not run"


def _goes_by_another(machine: Machine | None, spec: DesiredSandbox) -> bool:
    """Whether an apply was killed when the supervisor knew something new and the record did not, and that is undone."""
    return machine is not None and machine.spec not in ("", fingerprint(spec))


def main_is_due(spec: DesiredSandbox, machine: Machine | None) -> bool:
    """Whether the main process was never started, or has ended under a policy that did not start it again."""
    if machine is None or machine.health == "starting":
        return True
    return machine.main.status == "none" or (machine.main.status == "exited" and spec.restart == "always")


def _restart_cause(found: ObservedSandbox, fields: tuple[FieldChange, ...]) -> str | None:
    if found.status == "unresponsive":
        return "its supervisor does not answer"
    if found.status == "stopping":
        return "it is stopping"
    restarting = [change.path for change in fields if change.effect == "restart"]
    if restarting:
        return f"{', '.join(restarting)} changed"
    return "another version of sbx started it, and starts machines otherwise" if found.outdated else None


def _change_stopped(part: Part, spec: DesiredSandbox, found: ObservedSandbox, applied: Applied, reason: str) -> None:
    """Stop it unless it is; the disk grows while nobody uses it."""
    if found.status != "stopped":
        part.do(f"stop {spec.id.name}", StopSandbox(spec.id), reason, (PLATFORM_KEY,))
    if spec.resources.disk > applied.spec.resources.disk:
        wanted = spec.resources.disk
        part.do(f"grow {spec.id.name}", GrowDisk(spec.id, wanted), f"its disk is to have {size(wanted)}")


def _change_live(part: Part, spec: DesiredSandbox, found: ObservedSandbox, applied: Applied) -> None:
    """What changes while the machine runs: its policy before anything that takes long, or that lets it run on."""
    name, machine, wanted = spec.id.name, found.machine, spec.resources.disk
    if found.status == "starting":
        part.do(f"start {name}", StartSandbox(spec.id), "it is still starting", (PLATFORM_KEY,))
    if held_to_another(spec.policy, applied.spec.policy, machine):
        part.do(f"set policy {name}", SetPolicy(spec.id, spec.policy), "it is held to another one")
    if stale := tuple(each for each in spec.policy.credentials if each.name in found.stale_secrets):
        part.do(f"provide secrets {name}", ProvideSecrets(spec.id, stale), "the environment has other values")
    if found.status == "paused":
        part.do(f"resume {name}", ResumeSandbox(spec.id), "its machine is paused")
    _change_mounts(part, spec, applied, machine)
    if set(listened(applied.spec, machine)) != set(spec.ports):
        part.do(f"set ports {name}", SetPorts(spec.id, spec.ports), "other ports are to be reached")
    if machine is not None and wanted > min(machine.disk, applied.spec.resources.disk):
        part.do(f"grow {name}", GrowDisk(spec.id, wanted), f"its disk is to have {size(wanted)}")


def _change_mounts(part: Part, spec: DesiredSandbox, applied: Applied, machine: Machine | None) -> None:
    """Volumes may lie inside workspaces: they go before those change, and come after."""
    name = part.id.name
    for mount in superfluous(spec, applied, machine):
        reason = "it is no longer wanted there"
        part.do(f"detach volume {name} {mount.target}", DetachVolume(part.id, mount.target), reason)
    _change_workspaces(part, spec, applied, machine)
    for mount in missing(spec, applied, machine):
        reason = "it is not attached"
        part.do(f"attach volume {name} {mount.target}", AttachVolume(part.id, mount), reason)


def _change_workspaces(part: Part, spec: DesiredSandbox, applied: Applied, machine: Machine | None) -> None:
    """Detach first: a mount that comes hides what is mounted inside it. Wanted ones do not lie inside each other."""
    there = {workspace.target: workspace for workspace in attached(applied, machine)}
    wanted = {workspace.target: workspace for workspace in spec.workspaces}
    for target in sorted(there.keys() - wanted.keys()):
        part.do(f"detach {part.id.name} {target}", DetachWorkspace(part.id, target), "it is no longer wanted")
    for target in sorted(wanted):
        if there.get(target) != wanted[target]:
            reason = "it is attached otherwise" if target in there else "it is not attached"
            part.do(f"attach {part.id.name} {target}", AttachWorkspace(part.id, wanted[target]), reason)


def setup_done(applied: Applied, spec: DesiredSandbox) -> int:
    """How many setup commands of `spec` count as finished for a sandbox made from `applied`.

    Finished is finished, whatever the list says now. An unfinished setup goes on at the first command that has not
    run, or that is not the one that ran.
    """
    old = applied.spec.setup
    if applied.setup_done >= len(old):
        return len(spec.setup)
    same = 0
    while same < min(applied.setup_done, len(spec.setup)) and old[same] == spec.setup[same]:
        same += 1
    return same


def _shrinks(spec: DesiredSandbox, applied: Applied) -> Diagnostic:
    return error(
        "Disk cannot shrink",
        f"the disk of {spec.id} has {size(applied.spec.resources.disk)}; the file asks for {size(spec.resources.disk)}",
        hint=f"give it at least what it has, or delete the sandbox first: sbx rm {spec.id.name}",
    )


def _unreadable(found: ObservedSandbox) -> Diagnostic:
    return error(
        "Unreadable sandbox",
        f"the sandbox {found.id} exists, and its record cannot be used: {found.problem}",
        hint=f"sbx rm --force {found.id} deletes it with its disk",
    )
