"""What will be done, as data: changes (what a person reads) and steps (what the executor does).

Made by `planning`, executed by `apply`, shown by `cli/views`. Each step is one effect with a reason that a person
can read; the reason never drives behaviour.
"""

from dataclasses import dataclass, field
from typing import Literal

from sandboxfile.diagnostics import Diagnostics
from sandboxfile.model.credential import Credential
from sandboxfile.model.desired import Condition, DesiredSandbox, FileContent, Mount, Port, Workspace
from sandboxfile.model.policy import Policy
from sandboxfile.model.template import DesiredTemplate
from sandboxfile.names import SandboxId, VolumeId

Effect = Literal["live", "restart", "replace"]
# `begins`: how all is before it is remembered, and what it deletes is put aside; `ends`: it goes back to that.
History = Literal["leaves", "begins", "ends"]
Action = Literal["create", "update", "restart", "replace", "start", "resume", "stop", "delete", "build"]


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field of one sandbox. `path` as in the file: `resources.memory`, `workspaces./src`.

    `before` and `after` are printable; `reason` says why the effect is what it is.
    """

    path: str
    before: str | None
    after: str | None
    effect: Effect
    reason: str


@dataclass(frozen=True, slots=True)
class Shift:
    """One way in which a sandbox may do more, or less, than before: `web can now reach api.example.com:443`.

    What cannot be told apart counts as `widens`.
    """

    direction: Literal["widens", "tightens"]
    kind: Literal["reach", "mount", "secret", "protection", "port", "host"]
    text: str


@dataclass(frozen=True, slots=True)
class Change:
    """One object's change. `subject`: `template NAME`, `sandbox NAME`, `volume NAME` or `platform`; `cause`: why.

    `reach` says what it can reach, or what of that changes, a sentence each: `web can now reach api.example.com:443`.
    `shifts`: the same and everything else by which it may do more or less than before. `checkpoints`: how many are lost
    with the disk. `checkpoint`: the label of the one that is made before anything else is done; empty: none.
    """

    subject: str
    action: Action
    cause: str
    fields: tuple[FieldChange, ...] = ()
    loses_disk: bool = False
    reach: tuple[str, ...] = ()
    shifts: tuple[Shift, ...] = ()
    checkpoints: int = 0
    checkpoint: str = ""


# --- steps: one effect each --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PreparePlatform:
    """Build the kernel and the guest tools into the cache."""


@dataclass(frozen=True, slots=True)
class BuildImage:
    """Build a template's image into the cache."""

    template: DesiredTemplate


@dataclass(frozen=True, slots=True)
class CreateSandbox:
    """Make the directory, disk and record. After it the sandbox exists and is stopped."""

    spec: DesiredSandbox
    source: str


@dataclass(frozen=True, slots=True)
class StartSandbox:
    """Start the supervisor and wait until the guest answers and every workspace is mounted."""

    id: SandboxId


@dataclass(frozen=True, slots=True)
class RunSetup:
    """Run the setup commands that have not finished yet."""

    id: SandboxId


@dataclass(frozen=True, slots=True)
class StartMain:
    """Start the main process (after setup); a no-op when the sandbox has none or it runs."""

    id: SandboxId


@dataclass(frozen=True, slots=True)
class AttachWorkspace:
    id: SandboxId
    workspace: Workspace


@dataclass(frozen=True, slots=True)
class DetachWorkspace:
    id: SandboxId
    target: str


@dataclass(frozen=True, slots=True)
class SetPolicy:
    """Hold a running sandbox to another policy, at once; done when the gateway has confirmed it."""

    id: SandboxId
    policy: Policy


@dataclass(frozen=True, slots=True)
class SetPorts:
    """Listen on these ports of this host for a running sandbox, and on no others."""

    id: SandboxId
    ports: tuple[Port, ...]


@dataclass(frozen=True, slots=True)
class ProvideSecrets:
    """Hand the values that the environment of sbx has for these credentials to a running sandbox's gateway."""

    id: SandboxId
    credentials: tuple[Credential, ...]


@dataclass(frozen=True, slots=True)
class CheckAgent:
    """Look whether the agent's binary is in the sandbox; fails when it is not."""

    id: SandboxId


@dataclass(frozen=True, slots=True)
class GrowDisk:
    id: SandboxId
    size: int


@dataclass(frozen=True, slots=True)
class UpdateRecord:
    """Remember `spec` as applied; a running supervisor takes over what needs no restart, for what it starts next."""

    spec: DesiredSandbox
    source: str


@dataclass(frozen=True, slots=True)
class ResumeSandbox:
    id: SandboxId


@dataclass(frozen=True, slots=True)
class StopSandbox:
    """Stop the machine; its disk stays."""

    id: SandboxId


@dataclass(frozen=True, slots=True)
class DeleteSandbox:
    """Delete disk and record of a stopped sandbox. The workspaces stay. `keep`: put it aside, for `sbx rollback`.

    `checkpoints`: those that it has go as well.
    """

    id: SandboxId
    keep: bool = False
    checkpoints: bool = False


@dataclass(frozen=True, slots=True)
class CheckpointSandbox:
    """Keep a copy of a sandbox's disk, for `sbx restore`; a running one stands still meanwhile."""

    id: SandboxId
    label: str


@dataclass(frozen=True, slots=True)
class BringBack:
    """Put back what `DeleteSandbox` put aside: disk and record, stopped. Nothing of this name may be there."""

    id: SandboxId


@dataclass(frozen=True, slots=True)
class WaitFor:
    """Wait until a running sandbox is healthy, or its main process has exited with 0; fails when that cannot come."""

    id: SandboxId
    condition: Condition


@dataclass(frozen=True, slots=True)
class CreateVolume:
    """Make an empty volume, of the file `source`. Is it there, it is made larger where it is too small."""

    id: VolumeId
    size: int
    source: str = ""


@dataclass(frozen=True, slots=True)
class RecordVolume:
    """Remember another file as the one that a volume is of."""

    id: VolumeId
    source: str


@dataclass(frozen=True, slots=True)
class GrowVolume:
    """Make a volume larger, also while a sandbox (`holder`) has it."""

    id: VolumeId
    size: int
    holder: SandboxId | None = None


@dataclass(frozen=True, slots=True)
class DeleteVolume:
    """Delete a volume that no running sandbox has, with what is on it."""

    id: VolumeId


@dataclass(frozen=True, slots=True)
class AttachVolume:
    """Plug a volume into a running sandbox and mount it."""

    id: SandboxId
    mount: Mount


@dataclass(frozen=True, slots=True)
class DetachVolume:
    id: SandboxId
    target: str


Operation = (
    PreparePlatform
    | BuildImage
    | CreateSandbox
    | StartSandbox
    | RunSetup
    | StartMain
    | AttachWorkspace
    | DetachWorkspace
    | SetPolicy
    | SetPorts
    | ProvideSecrets
    | CheckAgent
    | GrowDisk
    | UpdateRecord
    | ResumeSandbox
    | StopSandbox
    | DeleteSandbox
    | CheckpointSandbox
    | BringBack
    | WaitFor
    | CreateVolume
    | RecordVolume
    | GrowVolume
    | DeleteVolume
    | AttachVolume
    | DetachVolume
)


@dataclass(frozen=True, slots=True)
class Step:
    """One node of the plan's graph. `needs` are keys of steps that must have succeeded before. Keys are unique."""

    key: str
    operation: Operation
    reason: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """Changes to show, steps to do in an order that respects `needs`, orphans to report, refusals that stop it.

    `observation` is the fingerprint of what its steps rest on (`planning.snapshot`), as it was when the plan was made.
    Empty (`not steps`) means up to date. `files` are what it was made from; `whole`: it does all that they ask for.
    `history`: what it means for `sbx rollback`.
    """

    project: str
    observation: str
    changes: tuple[Change, ...] = ()
    steps: tuple[Step, ...] = ()
    orphans: tuple[SandboxId, ...] = ()
    diagnostics: Diagnostics = ()
    files: tuple[FileContent, ...] = field(default=(), compare=False)
    whole: bool = field(default=True, compare=False)
    history: History = "leaves"

    @property
    def widenings(self) -> tuple[Shift, ...]:
        """All by which something may do more than before, in the order of `changes`."""
        return tuple(shift for change in self.changes for shift in change.shifts if shift.direction == "widens")


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What the user asked of the planner. `only`: names to limit to (empty: all). `goal`: converge, or take down.

    `replace`: names of sandboxes to make anew although nothing of them changed; they are among `only`, or all are.
    `profiles`: sandboxes that have profiles are meant when one of theirs is among these (`*`: any), or by name.
    `volumes`: with `down`, the project's volumes are deleted as well. `checkpoint`: the label of those that are
    made before anything puts a disk at risk; empty: none are.
    """

    goal: Literal["up", "down"] = "up"
    only: tuple[str, ...] = ()
    remove_orphans: bool = False
    allow_destroy: bool = False
    replace: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    volumes: bool = False
    checkpoint: str = ""
