"""sandboxfile: a checked-in `sandbox.yaml` describes sandboxes for AI agents; `sbx plan` and `sbx up` make it so.

One way through the house (read `pipeline.py` first):

    text -parse-> Document -validate-> SandboxFile -resolve-> DesiredState -+
                                                      ObservedState --------+-plan-> Plan -execute-> Outcome

Imports go down only, held by import-linter in the test run; the layers below `host` have no effects:

    pytest_plugin > api > cli > pipeline > applying|observe|supervisor|gateway > control|images|vm|guest|secrets > host
        > importing > language|resolve|planning > policy > agents > model > errors > diagnostics|names

Processes. The command line loads, plans, applies, and leaves; there is no daemon. Each running sandbox has a
supervisor, which owns QEMU (in its jail), one file server per workspace, and the SSH channel into the guest, and holds
the lock of the sandbox's directory for life: lock held = sandbox running. All that it owns dies with it, so whatever
is killed, what is left is state on disk, and the next apply starts from there.

Egress. The machine's network ends in an empty network namespace, whose only listeners are held by the gateway: one
process per user, started when the first sandbox needs it, gone soon after the last. It decides every connection and
request by the sandbox's policy (`policy/`, pure), resolves names itself, dials what it has checked, and shows TLS a
certificate of the sandbox's own authority. No gateway, no egress; a supervisor that loses it starts another.

Agents and secrets. An agent is a data file (`agents/`): template, hosts, settings, services. What its services and the
file's `secrets` want becomes `Credential`s, which are part of a sandbox's policy: where a value is, and where it goes.
Values are read by the gateway when a request needs them, or come from the environment of `sbx` over the control
sockets and are kept in memory; no record, argument, environment or log has one. A person approves which secret may go
to which host. The agent's terminal belongs to the supervisor; whoever runs `sbx run` is joined to it.

Templates. A template and its bases come to a recipe: one origin, and steps upon it. Each is a layer, a tar as in OCI
images: the origin's is made on the host (mmdebstrap, a registry, a builder), a step's is what it changed in a machine
behind the template's policy. Layers are merged as data, never unpacked one upon another; the list of what is in the
result has the content's digest, and the result becomes one ext4 disk. `applying/building.py` has the whole way.

Disks that stay. A volume is a disk of the project, in a directory of its own; its lock, held by supervisor and QEMU,
says who has it. A checkpoint is a copy of a sandbox's disk, with what is beneath it: it outlives the sandbox, unless
that is deleted for good. What an apply replaces is put aside until the next one, with how everything was, for
`sbx rollback`; with --checkpoint a plan begins with copies of the disks that it puts at risk.

Who is believed. A plan says by what each sandbox may do more (`planning/widening.py`, proved rule by rule). Files that
an agent could have written since a person approved them are in doubt (`planning/trusting.py`), and change nothing that
nobody was asked about. `sbx reconcile` loads a commit's own content, out of every sandbox's reach.

What must be kept compatible, in one place:

    sandbox.yaml          model/spec.py        schemas/sandbox.schema.json is made from it
    --format json         planning/render.py, cli/views
    exit codes            cli/exits.py
    the Python API        api/__init__.py
    the pytest plugin     pytest_plugin.py
    record.json           host/statedir.py     RECORD_VERSION
    journal               applying/journal.py  VERSION
    control messages      control/messages.py  VERSION
    egress messages       control/egress.py    VERSION
    network log           gateway/log.py       what `sbx network log --format json` prints
    saved plans, drift    planning/saved.py    VERSION; planning/drift.py, planning/comparing.py JSON_VERSION
    approvals, secrets    host/approvals.py, secrets/store.py
    trust.json            host/trust.py        VERSION
    before.json           host/history.py      VERSION
    reconcile's status    host/reconcilers.py  VERSION
    review.json           host/review.py
    sandbox.lock          model/lock.py
    saved templates       images/saved.py
    cache directories     images/cache.py      named by the digest of what they are made from
    the guest's config    guest/config.py      belongs to the platform, whose digest covers both sides

Decisions that rest on measurements (QEMU 7.2, emulation, two processors):

    - 16 hotplug slots: each costs 8 ms of boot.
    - A workspace goes from ro to rw and back by remounting in its file server's namespace (33 ms), not by unplugging;
      only when the guest has files open for writing must it be unplugged.
    - An unplugged slot is powered off inside first: 1 s instead of the 6 s of the hotplug button.
    - A file server that died with requests under way cannot be removed on kernel 6.1: unmount and unplug wait under a
      global lock. Its mount is buried, a new share is mounted over it, and the slot is lost until the next start.
    - A root of tens of thousands of small files is unpacked in memory where there is plenty: 2 s instead of 42.
    - Steps run in one machine as commands of an ordinary sandbox; what they changed is found by times of change and by
      comparing names. An overlay as the root would find it sooner, and Docker's own overlays do not work on one.
    - The guest's ports are not polled: a read blocks while the host is there, a write while it is away.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sandboxfile.api import (
        BusyError,
        CommandError,
        Completed,
        Event,
        ExecTimeout,
        FilesNotTrusted,
        HostError,
        InvalidFile,
        NetworkRecord,
        NotFoundError,
        Outcome,
        Plan,
        PlanRefused,
        Project,
        Sandbox,
        SandboxfileError,
        SecretsNotReady,
        Shift,
        StaleError,
        Volume,
        apply,
        load,
        plan,
        render,
        rollback,
        volumes,
    )

__version__ = "0.1.0"
__all__ = [
    "BusyError",
    "CommandError",
    "Completed",
    "Event",
    "ExecTimeout",
    "FilesNotTrusted",
    "HostError",
    "InvalidFile",
    "NetworkRecord",
    "NotFoundError",
    "Outcome",
    "Plan",
    "PlanRefused",
    "Project",
    "Sandbox",
    "SandboxfileError",
    "SecretsNotReady",
    "Shift",
    "StaleError",
    "Volume",
    "apply",
    "load",
    "plan",
    "render",
    "rollback",
    "volumes",
]


if not TYPE_CHECKING:  # a checker of types would believe that every name is there

    def __getattr__(name: str) -> Any:
        """The API, when its first name is asked for: `sbx --help` does without."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from sandboxfile import api

        return getattr(api, name)
