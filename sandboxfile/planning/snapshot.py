"""What of an observation a plan rests on: everything but what moves by itself while nothing of ours changes."""

from dataclasses import replace

from sandboxfile.model.fingerprint import fingerprint
from sandboxfile.model.observed import MainProcess, ObservedSandbox, ObservedState


def observation_fingerprint(observed: ObservedState) -> str:
    """Equal for two observations between which nothing moved that a plan depends on.

    Left out: the cache (building is idempotent and another project may build meanwhile), a main process that ends
    or is started again, and times.
    """
    return fingerprint((observed.project, [_steady(sandbox) for sandbox in observed.sandboxes]))


def _steady(sandbox: ObservedSandbox) -> ObservedSandbox:
    if sandbox.machine is None:
        return sandbox
    main = MainProcess("none" if sandbox.machine.main.status == "none" else "running")
    machine = replace(sandbox.machine, main=main, started_at="", accelerator="")
    return replace(sandbox, machine=machine)
