"""What is there: a snapshot made by `observe`, which chooses nothing. Read by `planning`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sandboxfile.model.desired import DesiredSandbox, Mount, Port, Workspace
from sandboxfile.names import SandboxId, VolumeId

# What a supervisor says of its sandbox. `starting` until the guest answers and everything asked for is attached;
# `paused` when QEMU says so behind our back; `stopping` on the way down.
Health = Literal["starting", "running", "paused", "stopping"]
# `stopped`: nobody holds the lock. `unresponsive`: the lock is held and the control socket does not answer.
Status = Literal["starting", "running", "paused", "stopping", "stopped", "unresponsive"]
# Of the agent that `sbx run` starts: `detached` runs on with nobody at its terminal.
AgentSession = Literal["none", "detached", "attached"]
# By its healthcheck; `none`: it has none. `starting` until the first check has succeeded or too many have failed.
Check = Literal["none", "starting", "healthy", "unhealthy"]
MainStatus = Literal["none", "running", "waiting", "exited"]


@dataclass(frozen=True, slots=True)
class MainProcess:
    """The main process. `waiting`: to be started again after a back-off. `restarts` since the sandbox started."""

    status: MainStatus = "none"
    exit_code: int | None = None
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class Machine:
    """A running microVM as QEMU and the guest tell it, not as we remember it.

    `memory` and `disk` in bytes; `cpus` whole. `workspaces` are those attached, with the file server alive.
    `boot` is the fingerprint of everything that only a restart can change; `spec` that of the DesiredSandbox which the
    supervisor goes by for what it starts next, empty when it does not say. `policy` is the fingerprint of the policy
    that the gateway has confirmed for it; empty while there is none, and then nothing of it gets out. `ports` are those
    that are listened on. `secrets`: a keyed digest (`host.secret_tags`) of each value that it was given, by the
    credential's name. `session`: the agent's terminal. `agent_found`: its binary was
    looked for since the start, and is there. `mounts`: the volumes that are plugged in and mounted. `check_output`: why
    the last healthcheck failed, and the end of what it printed; empty when it succeeded.
    """

    health: Health
    cpus: int
    memory: int
    disk: int
    workspaces: tuple[Workspace, ...]
    main: MainProcess
    accelerator: str
    boot: str
    started_at: str
    spec: str = ""
    policy: str = ""
    ports: tuple[Port, ...] = ()
    secrets: tuple[tuple[str, str], ...] = ()
    session: AgentSession = "none"
    agent_found: bool = False
    mounts: tuple[Mount, ...] = ()
    check: Check = "none"
    check_output: str = ""


@dataclass(frozen=True, slots=True)
class Applied:
    """What the record on disk says. `spec` is what was last applied; `setup_done` counts finished setup commands.

    `created_at` is RFC 3339, UTC; `source` the absolute path of the file it came from; `content` the digest of what
    was in the image that its disk was made from.
    """

    spec: DesiredSandbox
    source: str
    created_at: str
    setup_done: int
    content: str = ""


@dataclass(frozen=True, slots=True)
class ObservedSandbox:
    """One sandbox found in the state directory. `machine` is set unless stopped or unresponsive.

    `disk_present` is False when the record is there and its disk, or the image beneath it, has been deleted.
    `problem` says why the record cannot be used (unreadable, newer version), and then `applied` is None.
    `outdated`: a machine of these sizes would be started otherwise now (another version of this program did it).
    `stale_secrets`: credentials of which a running machine was given another value than the environment has now.
    `asleep`: it is stopped because nothing was done in it for its `idle_stop`; the next use starts it. `checkpoints`:
    how many it has, that go with it.
    """

    id: SandboxId
    status: Status
    applied: Applied | None
    machine: Machine | None = None
    disk_present: bool = True
    problem: str | None = None
    outdated: bool = False
    stale_secrets: tuple[str, ...] = ()
    asleep: bool = False
    checkpoints: int = 0


@dataclass(frozen=True, slots=True)
class ObservedVolume:
    """A volume that is there. `size` in bytes, as a guest sees it; `holder`: the sandbox that has it now.

    `source` is the absolute path of the file that it is of; empty: nobody knows.
    """

    id: VolumeId
    size: int
    holder: SandboxId | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class ObservedState:
    """All that bears on one project: its sandboxes sorted by name, and what is in the cache.

    `images` are those that are built and whole: the content's digest by the recipe's. `platform_ready`: kernel and
    guest tools are in the cache. `missing_sources`: files named by a record that are no longer there.
    """

    project: str
    sandboxes: tuple[ObservedSandbox, ...] = ()
    images: Mapping[str, str] = field(default_factory=dict)
    platform_ready: bool = False
    missing_sources: frozenset[str] = frozenset()
    volumes: tuple[ObservedVolume, ...] = ()
