"""What of an observation a plan rests on: everything but what moves by itself while nothing of ours changes."""

from dataclasses import replace

from sandboxfile.model.fingerprint import fingerprint
from sandboxfile.model.observed import MainProcess, ObservedSandbox, ObservedState


def observation_fingerprint(observed: ObservedState) -> str:
    """Equal for two observations between which nothing moved that a plan depends on.

    Left out: the cache (building is idempotent and another project may build meanwhile), a main process that ends
    or is started again, who sits at the agent's terminal, and times.
    """
    sandboxes = sorted(observed.sandboxes, key=lambda sandbox: sandbox.id)
    return fingerprint((observed.project, [_steady(sandbox) for sandbox in sandboxes]))


def _steady(sandbox: ObservedSandbox) -> ObservedSandbox:
    if sandbox.machine is None:
        return sandbox
    main = MainProcess("none" if sandbox.machine.main.status == "none" else "running")
    workspaces = tuple(sorted(sandbox.machine.workspaces, key=lambda workspace: workspace.target))
    machine = replace(
        sandbox.machine, workspaces=workspaces, main=main, started_at="", accelerator="", secrets=(), session="none"
    )
    return replace(sandbox, machine=machine)
