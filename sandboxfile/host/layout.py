"""Every file name that sandboxfile uses on the host, and nothing else. Pure: makes paths, touches none.

    state    $XDG_STATE_HOME/sandboxfile    sandboxes with their disks, records and logs; project locks and journals
    cache    $XDG_CACHE_HOME/sandboxfile    kernels and images by content; safe to delete at any time
    runtime  $XDG_RUNTIME_DIR/sandboxfile   sockets; short, because a UNIX socket's path is limited to 107 bytes

    config   $XDG_CONFIG_HOME/sandboxfile   what the user says for all projects; read, never written

`SBX_HOME` moves the first three.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sandboxfile.names import BUILDS, SandboxId, VolumeId

SANDBOX_FILES = ("sandbox.yaml", "sandbox.yml")
LOCK_FILE = "sandbox.lock"  # beside the sandbox file
CHECKPOINTS = ".checkpoints"  # beside the sandboxes of a project; no name of one
MACHINE_POLICY = Path("/etc/sandboxfile/policy.yaml")


@dataclass(frozen=True, slots=True)
class SandboxPaths:
    """The files of one sandbox. All but the sockets are in its state directory `root`."""

    root: Path
    control: Path

    @property
    def lock(self) -> Path:
        """Held with flock by the supervisor for life: lock held = sandbox running."""
        return self.root / "lock"

    @property
    def monitor(self) -> Path:
        """A second QMP socket of the running machine, for its owner's own tools; sbx itself does not use it."""
        return self.control.with_suffix(".qmp")

    @property
    def record(self) -> Path:
        return self.root / "record.json"

    @property
    def moved_record(self) -> Path:
        """The record that counts once the directory is where a move takes it (`host.moving`)."""
        return self.root / "moved.json"

    @property
    def command(self) -> Path:
        """Of an unmanaged sandbox: what the command that made it asked for, as a sandbox file."""
        return self.root / "command.yaml"

    @property
    def base(self) -> Path:
        """Hard link to (or copy of) the image that `disk` is an overlay of: deleting the cache loses no disk."""
        return self.root / "base.ext4"

    @property
    def disk(self) -> Path:
        return self.root / "disk.qcow2"

    @property
    def tree(self) -> Path:
        """Hard link to (or copy of) the list of everything that is in `base`."""
        return self.root / "tree.gz"

    @property
    def image(self) -> Path:
        """The manifest of the image that `base` is of, as it was when the sandbox was made."""
        return self.root / "image.json"

    @property
    def console_log(self) -> Path:
        return self.root / "console.log"

    @property
    def main_log(self) -> Path:
        return self.root / "main.log"

    @property
    def supervisor_log(self) -> Path:
        return self.root / "supervisor.log"

    @property
    def network_log(self) -> Path:
        """What it reached and what was blocked, a JSON line each; written by the gateway."""
        return self.root / "network.log"

    @property
    def review(self) -> Path:
        """What in the workspaces would run on the host, as it was when somebody last looked."""
        return self.root / "review.json"

    @property
    def authority(self) -> Path:
        """Certificate and key of the sandbox's own certificate authority, PEM."""
        return self.root / "authority.pem"

    @property
    def asleep(self) -> Path:
        """There as long as the sandbox is stopped because nothing was done in it; made by its supervisor."""
        return self.root / "asleep"

    @property
    def copied(self) -> Path:
        """There until a disk that was copied from another sandbox's has been started once (`supervisor.identity`)."""
        return self.root / "copied"

    @property
    def checkpoints(self) -> Path:
        """Holds `LABEL/` for each checkpoint, with the files that its disk stands on. Outlives `root`."""
        return self.root.parent / CHECKPOINTS / self.root.name


@dataclass(frozen=True, slots=True)
class VolumePaths:
    """The files of one volume, in its state directory `root`."""

    root: Path

    @property
    def lock(self) -> Path:
        """Held with flock by the supervisor of the sandbox that has it."""
        return self.root / "lock"

    @property
    def record(self) -> Path:
        """Which file it is of."""
        return self.root / "record.json"

    @property
    def disk(self) -> Path:
        return self.root / "disk.qcow2"


@dataclass(frozen=True, slots=True)
class ReconcilerPaths:
    """The files of one `sbx reconcile`: its own in `root`; what it checks out is outside, where workspaces may be.

    The commit's files are loaded from `source`, which no sandbox gets; workspaces are of `tree`, where agents write.
    """

    root: Path
    source: Path
    tree: Path

    @property
    def lock(self) -> Path:
        """Held with flock by the reconciler at work."""
        return self.root / "lock"

    @property
    def status(self) -> Path:
        return self.root / "status.json"

    @property
    def suspended(self) -> Path:
        """There as long as its owner wants it to do nothing."""
        return self.root / "suspended"

    @property
    def clone(self) -> Path:
        """A bare repository: nothing but objects, and a few refs of ours."""
        return self.root / "clone.git"


@dataclass(frozen=True, slots=True)
class Layout:
    """The roots of one user."""

    state: Path
    cache: Path
    runtime: Path
    config: Path = Path("/nonexistent")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], home: Path, uid: int) -> "Layout":
        """Where the XDG variables or SBX_HOME put us. Relative values are ignored, as the XDG specification asks."""

        def absolute(name: str) -> Path | None:
            value = environ.get(name, "")
            return Path(value) if value.startswith("/") else None

        config = absolute("XDG_CONFIG_HOME") or home / ".config"
        if moved := absolute("SBX_HOME"):
            return cls(moved / "state", moved / "cache", moved / "run", config / "sandboxfile")
        state = absolute("XDG_STATE_HOME") or home / ".local/state"
        cache = absolute("XDG_CACHE_HOME") or home / ".cache"
        runtime = absolute("XDG_RUNTIME_DIR")
        return cls(
            state / "sandboxfile",
            cache / "sandboxfile",
            runtime / "sandboxfile" if runtime else Path(f"/tmp/sandboxfile-{uid}"),  # noqa: S108 - checked to be ours, 0700
            config / "sandboxfile",
        )

    @property
    def sandboxes(self) -> Path:
        """Holds `PROJECT/NAME/` for every sandbox."""
        return self.state / "sandboxes"

    @property
    def trash(self) -> Path:
        """Where a deleted sandbox's directory is renamed to, before its files go one by one."""
        return self.state / "trash"

    def sandbox(self, id: SandboxId) -> SandboxPaths:
        """The files of one sandbox."""
        # The hash keeps the socket's path short whatever the names; state distinguishes two SBX_HOMEs in one runtime.
        key = hashlib.sha256(f"{self.state}\0{id}".encode()).hexdigest()[:16]
        return SandboxPaths(self.sandboxes / id.project / id.name, self.runtime / f"{key}.sock")

    @property
    def volumes(self) -> Path:
        """Holds `PROJECT/NAME/` for every volume."""
        return self.state / "volumes"

    def volume(self, id: VolumeId) -> VolumePaths:
        """The files of one volume."""
        return VolumePaths(self.volumes / id.project / id.name)

    def kept(self, id: SandboxId) -> Path:
        """Where the last apply put the directory of a sandbox that it deleted or replaced, for `sbx rollback`."""
        return self.state / "kept" / id.project / id.name

    def before(self, project: str) -> Path:
        """What was applied to the project's sandboxes before the last apply began, for `sbx rollback`."""
        return self.state / "projects" / f"{project}.before.json"

    def build_hold(self, name: str) -> Path:
        """Held with flock by whoever builds, as long as the build machine `name` exists; beside its directory."""
        return self.sandboxes / BUILDS / f".{name}.hold"

    def project_lock(self, project: str) -> Path:
        """Held while a plan of this project is applied."""
        return self.state / "projects" / f"{project}.lock"

    def journal(self, project: str) -> Path:
        """What the running (or interrupted) apply does, a JSON line per event."""
        return self.state / "projects" / f"{project}.journal"

    @property
    def host_record(self) -> Path:
        """Decisions made once per host: the subordinate ids of a root caller."""
        return self.state / "host.json"

    @property
    def gateway_lock(self) -> Path:
        """Held with flock by the gateway for life: lock held = gateway running."""
        return self.state / "gateway.lock"

    @property
    def gateway_log(self) -> Path:
        return self.state / "gateway.log"

    @property
    def gateway_socket(self) -> Path:
        key = hashlib.sha256(f"{self.state}".encode()).hexdigest()[:16]
        return self.runtime / f"gateway-{key}.sock"

    @property
    def user_policy(self) -> Path:
        """The user's own policies, which also say which one a sandbox gets that names none."""
        return self.config / "policy.yaml"

    @property
    def resolver_overrides(self) -> Path:
        """What names resolve to on this host's way out, said by its operator; read by the gateway alone."""
        return self.config / "resolver.json"

    @property
    def platforms(self) -> Path:
        """Holds `DIGEST/` with vmlinux, initrd, tools.erofs."""
        return self.cache / "platforms"

    @property
    def images(self) -> Path:
        """Holds `DIGEST/` with rootfs.ext4 and tree.gz."""
        return self.cache / "images"

    @property
    def layers(self) -> Path:
        """Holds `DIGEST/` with layer.tar.zst: origins of images, and what each step changed."""
        return self.cache / "layers"

    @property
    def file_digests(self) -> Path:
        """Digests of large files of this host, by what stat(2) says of them."""
        return self.cache / "file-digests.json"

    @property
    def secrets(self) -> Path:
        """Holds what `sbx secret set` keeps: an index, and a file (0600) for each value that no keyring has."""
        return self.state / "secrets"

    @property
    def approvals(self) -> Path:
        """Which secret may go to which host, as its owner said; no file of a project can."""
        return self.state / "approvals.json"

    @property
    def trust(self) -> Path:
        """The content of sandbox files that their owner has seen applied, as digests (`host.trust`)."""
        return self.state / "trust.json"

    @property
    def reconcilers(self) -> Path:
        """Holds `NAME/` with the clone, the lock and the status of each `sbx reconcile`."""
        return self.state / "reconcile"

    def reconciler(self, name: str) -> ReconcilerPaths:
        """The files of one of them. The last part of what is checked out names a project that has no name."""
        outside = self.state.parent / "sandboxfile-reconcile"
        return ReconcilerPaths(self.reconcilers / name, outside / "source" / name, outside / "tree" / name)

    @property
    def plan_key(self) -> Path:
        """What saved plans are sealed with (`host.plan_files`)."""
        return self.state / "plan.key"

    @property
    def saved(self) -> Path:
        """Holds `TAG/` for every saved or imported template: state, for nothing can make it anew."""
        return self.state / "templates"

    @property
    def accelerator_record(self) -> Path:
        """The result of the timed accelerator probe."""
        return self.cache / "accelerator.json"
