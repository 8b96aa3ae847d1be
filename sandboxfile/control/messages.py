"""Every message between a client (the CLI) and a sandbox's supervisor. Data only.

One connection carries one request and its replies, a line each (`codec`). `Exec` and `AttachAgent` are accompanied by
three descriptors (stdin, stdout, stderr). A connection that closes before `Exited` means that the client is gone: its
process inside is killed; the agent goes on.
"""

from dataclasses import dataclass, field

from sandboxfile.control.codec import Codec
from sandboxfile.model.desired import DesiredSandbox, Mount, Port, Workspace
from sandboxfile.model.observed import Machine
from sandboxfile.model.policy import Policy

VERSION = 3
LINE_LIMIT = 4 << 20  # bytes; a longer line is a protocol error


# --- requests ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GetStatus:
    """Answered by `StatusReply`, at any time, also while the machine boots."""


@dataclass(frozen=True, slots=True)
class WaitReady:
    """Answered by `Progress`* and then `Done` once the guest answers and all workspaces are mounted, or `Failed`."""


@dataclass(frozen=True, slots=True)
class Exec:
    """Run a command inside. Answered by `Started`, then `Exited` or `Failed`.

    Without `user` and `cwd`: the sandbox's own. `env` overrides the sandbox's. `rows`/`columns` with `tty` only.
    `detach`: no streams are connected; `Exited` does not follow `Started`, and the client may go.
    """

    argv: tuple[str, ...]
    tty: bool = False
    stdin: bool = False
    detach: bool = False
    user: str | None = None
    cwd: str | None = None
    env: tuple[tuple[str, str], ...] = ()
    term: str = ""
    rows: int = 24
    columns: int = 80


@dataclass(frozen=True, slots=True)
class AttachAgent:
    """Join a terminal to the agent's, which the supervisor keeps; start the agent when it does not run.

    Answered by `Started`, then `Exited`, `Detached` or `Failed`. `arguments` are for an agent that starts: `Failed`
    when one runs already. `env` overrides the sandbox's, likewise. `detach_keys`: the bytes that detach; empty: none.
    `detach`: start it only; nothing follows `Started`. Whoever was attached before is `Detached`.
    """

    arguments: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    term: str = ""
    rows: int = 24
    columns: int = 80
    detach_keys: tuple[int, ...] = ()
    detach: bool = False


@dataclass(frozen=True, slots=True)
class Resize:
    """Client to supervisor, during a tty `Exec` or an `AttachAgent`."""

    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class Signal:
    """Client to supervisor, during an `Exec`. `name` without SIG: INT, TERM, HUP…"""

    name: str


@dataclass(frozen=True, slots=True)
class Attach:
    """Share a workspace and mount it. Idempotent. Answered by `Done` or `Failed`."""

    workspace: Workspace


@dataclass(frozen=True, slots=True)
class Detach:
    """Unmount a workspace by its target (lazily, when processes still use it) and unplug it. Idempotent."""

    target: str


@dataclass(frozen=True, slots=True)
class AttachVolume:
    """Plug a volume in and mount it. Idempotent. Answered by `Done` or `Failed`."""

    mount: Mount


@dataclass(frozen=True, slots=True)
class DetachVolume:
    """Unmount a volume by its target and unplug it. Idempotent. `Failed` when programs use it."""

    target: str


@dataclass(frozen=True, slots=True)
class GrowVolume:
    """Make a volume larger that this sandbox has, and its file system."""

    volume: str
    size: int


@dataclass(frozen=True, slots=True)
class CopyDisk:
    """Copy the sandbox's disk, as it is at one moment, to a new file beside it. Answered by `Done` or `Failed`.

    `name` is that of a checkpoint: the supervisor knows where it belongs.
    """

    name: str


@dataclass(frozen=True, slots=True)
class WaitHealthy:
    """Answered by `Progress`* and `Done` once the healthcheck succeeds; `Failed` when it has become unhealthy."""


@dataclass(frozen=True, slots=True)
class SetPolicy:
    """Hold the sandbox to another policy at once. `Done` when the gateway has confirmed it, else `Failed`."""

    policy: Policy


@dataclass(frozen=True, slots=True)
class Provide:
    """The values of credentials from the environment, by the credential's name; kept in memory only.

    They come on top of those that were given before. May come while the machine boots.
    """

    values: tuple[tuple[str, str], ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class SetPorts:
    """Listen on these ports of the host, and on no others. `Failed` when one cannot be had, and nothing changed."""

    ports: tuple[Port, ...]


@dataclass(frozen=True, slots=True)
class Forward:
    """Listen on one more port until the client hangs up. Answered by `Started` once it listens."""

    port: Port


@dataclass(frozen=True, slots=True)
class CheckAgent:
    """Look for the agent's binary inside. `Failed` when it is not there."""


@dataclass(frozen=True, slots=True)
class GrowDisk:
    size: int


@dataclass(frozen=True, slots=True)
class Update:
    """Take over what needs no restart from `spec`: env, user, restart policy, for what is started from now on."""

    spec: DesiredSandbox


@dataclass(frozen=True, slots=True)
class RunSetup:
    """Run the setup commands from `first` on. Answered by `Output`*, `SetupDone`*, then `Done`, or `Failed`."""

    first: int


@dataclass(frozen=True, slots=True)
class StartMain:
    """Start the main process unless it runs or there is none. Answered by `Done`."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Let a paused machine run again."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Power off: TERM to the main process, sync, power off, then quit. Answered by `Done` when the machine is gone."""

    timeout: float = 10.0


# --- replies -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StatusReply:
    machine: Machine


@dataclass(frozen=True, slots=True)
class Progress:
    message: str


@dataclass(frozen=True, slots=True)
class Output:
    """A line that a setup command printed."""

    line: str


@dataclass(frozen=True, slots=True)
class SetupDone:
    """Setup command number `index` (from 0) has finished and is recorded."""

    index: int


@dataclass(frozen=True, slots=True)
class Started:
    pass


@dataclass(frozen=True, slots=True)
class Detached:
    """The agent goes on without this terminal. `reason` in a clause; `notes` are lines for the person who was there."""

    reason: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Exited:
    """`code` is the command's own; 128+N when signal N ended it."""

    code: int


@dataclass(frozen=True, slots=True)
class Done:
    pass


@dataclass(frozen=True, slots=True)
class Failed:
    """`error` names a class of `sandboxfile.errors`; `exit_code` only for CommandError."""

    error: str
    message: str
    hint: str | None = None
    output: str = ""
    exit_code: int = 1


Message = (
    GetStatus
    | WaitReady
    | Exec
    | AttachAgent
    | Resize
    | Signal
    | Attach
    | Detach
    | AttachVolume
    | DetachVolume
    | GrowVolume
    | CopyDisk
    | WaitHealthy
    | SetPolicy
    | Provide
    | SetPorts
    | Forward
    | CheckAgent
    | GrowDisk
    | Update
    | RunSetup
    | StartMain
    | Resume
    | Stop
    | StatusReply
    | Progress
    | Output
    | SetupDone
    | Started
    | Detached
    | Exited
    | Done
    | Failed
)
_CODEC = Codec(VERSION, Message.__args__, "restart the sandbox with the same version of sbx: sbx restart NAME")


def encode(message: Message) -> bytes:
    """One line, with its newline."""
    return _CODEC.encode(message)


def decode(line: bytes) -> Message:
    """The message of one line. Raises ControlError for anything that this version does not know."""
    message: Message = _CODEC.decode(line)
    return message
