"""Observed sandboxes as table, detail page and JSON objects. Pure; the JSON's keys are public surface."""

import dataclasses
import shlex
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sandboxfile.cli.views.text import age, harmless, table
from sandboxfile.model.credential import Credential
from sandboxfile.model.desired import Healthcheck, Workspace
from sandboxfile.model.durations import duration as exactly
from sandboxfile.model.fingerprint import fingerprint
from sandboxfile.model.observed import AgentSession, Machine, MainProcess, ObservedSandbox
from sandboxfile.model.policy import Layer
from sandboxfile.model.sizes import size
from sandboxfile.names import UNMANAGED

_SESSIONS: dict[AgentSession, str] = {
    "none": "none: its agent does not run",
    "detached": "its agent runs, with nobody at its terminal",
    "attached": "its agent runs, with somebody at its terminal",
}
_SHOWN = 20  # lines of a failed check's output
HEADER = ("ID", "NAME", "AGENT", "STATUS", "WORKSPACE", "AGE")


def listing(sandboxes: Sequence[ObservedSandbox], now: datetime) -> str:
    """A line per sandbox."""
    return table(HEADER, [_cells(sandbox, now) for sandbox in sandboxes])


def _cells(sandbox: ObservedSandbox, now: datetime) -> list[str]:
    applied = sandbox.applied
    if applied is None:
        return [str(sandbox.id), sandbox.id.name, "-", f"{sandbox.status} (unreadable)", "-", "-"]
    workspaces = applied.spec.workspaces
    more = f" (+{len(workspaces) - 1})" if len(workspaces) > 1 else ""
    shown = workspaces[0].source + more if workspaces else "-"
    status = _status(sandbox)
    return [str(sandbox.id), sandbox.id.name, applied.spec.agent, status, shown, age(applied.created_at, now)]


def _status(sandbox: ObservedSandbox) -> str:
    """`running (healthy)`, as people know it from Docker; with what keeps it from being as its file wants it."""
    check = sandbox.machine.check if sandbox.machine is not None else "none"
    notes = [
        *(["disk missing"] if not sandbox.disk_present else []),
        *(["asleep"] if sandbox.asleep else []),
        *_unfinished(sandbox),
        *([check if check != "starting" else "health: starting"] if check != "none" else []),
    ]
    return f"{sandbox.status} ({', '.join(notes)})" if notes else sandbox.status


def _unfinished(sandbox: ObservedSandbox) -> Iterator[str]:
    """Of one that runs: its setup, which goes on or has failed (the record does not say which), or its main process."""
    if sandbox.machine is None:
        return
    applied, main = sandbox.applied, sandbox.machine.main
    if applied is not None and applied.setup_done < len(applied.spec.setup):
        yield "setup not finished"
    if main.status in ("exited", "waiting"):
        yield f"main process exited {main.exit_code}{', to be started again' if main.status == 'waiting' else ''}"


def summary(sandbox: ObservedSandbox) -> dict[str, Any]:
    """One object of `ls --format json`."""
    applied = sandbox.applied
    return {
        "id": str(sandbox.id),
        "project": sandbox.id.project,
        "name": sandbox.id.name,
        "managed": sandbox.id.project != UNMANAGED,
        "status": sandbox.status,
        "agent": applied.spec.agent if applied else None,
        "template": applied.spec.template if applied else None,
        "workspaces": [dataclasses.asdict(workspace) for workspace in applied.spec.workspaces] if applied else [],
        "created_at": applied.created_at if applied else None,
        "source": (applied.source or None) if applied else None,
        "problem": sandbox.problem,
        "check": sandbox.machine.check if sandbox.machine else None,
        "asleep": sandbox.asleep,
    }


def detail(sandbox: ObservedSandbox, files: dict[str, str]) -> dict[str, Any]:
    """The object of `status --format json`: the summary, what was applied, what runs, and where its files are."""
    applied, machine = sandbox.applied, sandbox.machine
    return {
        **summary(sandbox),
        "disk_present": sandbox.disk_present,
        "setup_done": applied.setup_done if applied else None,
        "spec": _plain(applied.spec) if applied else None,
        "machine": _plain(machine) if machine else None,
        "policy_in_force": policy_in_force(sandbox),
        "files": files,
    }


def _plain(value: Any) -> dict[str, Any]:
    fields = dataclasses.asdict(value)
    fields.pop("secrets", None)  # digests of values, for comparing only
    if "env" in fields:
        fields["env"] = dict(fields["env"])
    if "id" in fields:
        fields["id"] = str(value.id)
    return fields


def page(
    sandbox: ObservedSandbox,
    files: dict[str, str],
    now: datetime,
    kept: str = "",
    more: Sequence[tuple[str, str]] = (),
) -> str:
    """`status` for people: a name and a value a line, `more` as well; an empty name goes on with the one above."""
    asleep = " (asleep: the next use starts it)" if sandbox.asleep else ""
    lines = [("id", str(sandbox.id)), ("status", sandbox.status + asleep)]
    if sandbox.problem:
        lines.append(("problem", sandbox.problem))
    if not sandbox.disk_present:
        lines.append(("problem", "the disk is missing"))
    lines += _applied_lines(sandbox, now)
    lines += _machine_lines(sandbox, now)
    lines += [*([("kept by", kept)] if kept else []), *more]
    lines += [(name.replace("_", " "), path) for name, path in files.items()]
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {harmless(text)}".rstrip() for name, text in lines)


def _applied_lines(sandbox: ObservedSandbox, now: datetime) -> list[tuple[str, str]]:
    if sandbox.applied is None:
        return []
    applied, spec = sandbox.applied, sandbox.applied.spec
    given = spec.resources
    lines = [
        ("file", applied.source or f"none: a command made it (sbx adopt {spec.id} writes it into one)"),
        ("created", f"{applied.created_at} ({age(applied.created_at, now)} ago)"),
        ("agent", spec.agent),
        ("template", f"{spec.template} ({spec.image.title})"),
        ("user", spec.user),
        ("resources", f"{given.cpus} cpus, {size(given.memory)} memory, {size(given.disk)} disk"),
        ("setup", f"{applied.setup_done} of {len(spec.setup)} commands done" if spec.setup else "none"),
        ("protect", "yes" if spec.protect else "no"),
    ]
    if spec.healthcheck is not None:
        lines.append(("healthcheck", _healthcheck(spec.healthcheck)))
    if spec.idle_stop:
        lines.append(("idle stop", f"when nothing was done in it for {exactly(spec.idle_stop)}"))
    attached = None if sandbox.machine is None else sandbox.machine.workspaces
    for position, workspace in enumerate(spec.workspaces):
        missing = "" if attached is None or workspace in attached else " (not attached)"
        lines.append(("" if position else "workspaces", _workspace(workspace) + missing))
    plugged = None if sandbox.machine is None else sandbox.machine.mounts
    for position, mount in enumerate(spec.mounts):
        missing = "" if plugged is None or mount in plugged else " (not attached)"
        lines.append(("" if position else "volumes", f"{mount.volume} at {mount.target}{missing}"))
    for position, layer in enumerate(spec.policy.layers):
        lines.append(("" if position else "policy", _layer(layer)))
    for position, credential in enumerate(spec.policy.credentials):
        lines.append(("" if position else "secrets", f"{credential.name}: {_secret(credential)}"))
    listening = () if sandbox.machine is None else sandbox.machine.ports
    for position, port in enumerate(spec.ports):
        missing = "" if sandbox.machine is None or port in listening else " (not listening)"
        lines.append(("" if position else "ports", port.text + missing))
    return lines


def _healthcheck(check: Healthcheck) -> str:
    times = f"every {exactly(check.interval)}, {exactly(check.timeout)} at most, {check.retries} failures in a row"
    start = f" after {exactly(check.start_period)}" if check.start_period else ""
    return f"{shlex.join(check.command.argv)} ({times}{start})"


def _secret(credential: Credential) -> str:
    """Where it is kept and where it goes; never a value."""
    places = ", ".join(f"{host}:{port}" for host, port in credential.bound)
    return f"{credential.source.text} for {places}" if places else credential.source.text


def _layer(layer: Layer) -> str:
    enforced = ", enforced" if layer.enforced else ""
    place = f" ({layer.place})" if layer.place else ""
    return f"{layer.name}: mode {layer.mode}{enforced}{place}"


def policy_in_force(sandbox: ObservedSandbox) -> bool | None:
    """Whether the gateway has confirmed the policy that was applied; None when it does not run, or is unreadable."""
    if sandbox.machine is None or sandbox.applied is None:
        return None
    return sandbox.machine.policy == fingerprint(sandbox.applied.spec.policy)


def _egress(sandbox: ObservedSandbox, machine: Machine) -> str:
    if policy_in_force(sandbox):
        return "open as its policy says, confirmed by the gateway"
    if machine.policy:
        return "the gateway goes by another policy than the one that was applied"
    return "closed: no policy is confirmed by the gateway, and nothing gets out"


def _workspace(workspace: Workspace) -> str:
    target = "" if workspace.target == workspace.source else f" at {workspace.target}"
    return f"{workspace.source}{target} ({workspace.mode})"


def _machine_lines(sandbox: ObservedSandbox, now: datetime) -> list[tuple[str, str]]:
    machine = sandbox.machine
    if machine is None:
        return []
    emulated = ": emulation, not a security boundary" if machine.accelerator == "tcg" else ""
    return [
        ("started", f"{machine.started_at} ({age(machine.started_at, now)} ago)"),
        ("accelerator", machine.accelerator + emulated),
        ("main process", main_process(machine.main)),
        *_health(machine),
        ("session", _SESSIONS[machine.session]),
        ("egress", _egress(sandbox, machine)),
    ]


def _health(machine: Machine) -> list[tuple[str, str]]:
    """What its healthcheck has found; nothing where there is none."""
    if machine.check == "none":
        return []
    why, *output = machine.check_output.splitlines() or [""]
    return [("health", f"{machine.check}: {why}" if why else machine.check), *(("", line) for line in output[-_SHOWN:])]


def main_process(main: MainProcess) -> str:
    """In words: `running, 2 restarts`."""
    words = {
        "none": "none",
        "running": "running",
        "waiting": f"exited with {main.exit_code}, to be started again",
        "exited": f"exited with {main.exit_code}",
    }[main.status]
    return words if not main.restarts else f"{words}, {main.restarts} restart{'s' * (main.restarts > 1)}"
