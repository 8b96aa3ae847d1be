"""Which fields of one sandbox differ, and what each difference costs. The only place that knows the costs."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from sandboxfile.errors import PolicyError
from sandboxfile.model.credential import Credential
from sandboxfile.model.desired import (
    DEFAULT_PROTECT,
    Command,
    DesiredSandbox,
    FromHost,
    Healthcheck,
    Image,
    Port,
    Workspace,
)
from sandboxfile.model.durations import duration
from sandboxfile.model.fingerprint import fingerprint, short
from sandboxfile.model.observed import Applied, Machine
from sandboxfile.model.plan import Effect, FieldChange
from sandboxfile.model.policy import Policy
from sandboxfile.model.sizes import size
from sandboxfile.planning.mounts import mount_changes
from sandboxfile.policy.command import command_edit

_LOCK_FILE = "sandbox.lock"
_PROJECT_FILES = (_LOCK_FILE, "sandbox.yaml", "sandbox.yml", "sandbox.override.yaml", "sandbox.override.yml")


def field_changes(
    spec: DesiredSandbox,
    applied: Applied,
    machine: Machine | None,
    content: str = "",
    stale: Collection[str] = (),
) -> tuple[FieldChange, ...]:
    """Every difference, in the order of the language's fields. `machine` counts where it can differ from the record.

    `content`: the digest of what is in the image that is wanted, as far as that is known. `stale`: credentials of which
    the machine has another value than the environment of sbx.
    """
    old = applied.spec
    return tuple(
        [
            *_image(spec, old, content != "" and content == applied.content),
            *_docker(spec, old),
            *_simple("agent", old.agent, spec.agent, "replace", "a sandbox is made for one agent"),
            *_simple("user", old.user, spec.user, "restart", "processes run as the user that they were started with"),
            *_workspaces(spec.workspaces, attached(applied, machine)),
            *_order(spec.workspaces, old.workspaces),
            *mount_changes(spec, applied, machine),
            *policy_change(spec.policy, old.policy, machine),
            *_secrets(spec.policy, old.policy, stale),
            *_env(dict(spec.env), dict(old.env)),
            *_ports(spec, old, machine),
            *_machine_size(spec, old, machine),
            *_disk(spec, old, machine),
            *_setup(spec, applied),
            *_simple(
                "command", _command(old.command), _command(spec.command), "restart", "the main process is another one"
            ),
            *_healthcheck(spec.healthcheck, old.healthcheck),
            *_simple("depends_on", _waits(old), _waits(spec), "live", "counts from the next start"),
            *_simple("restart", old.restart, spec.restart, "live", "counts from the next end of the main process"),
            *_simple("idle_stop", _time(old), _time(spec), "live", "counts from now on"),
            *_simple("protect", str(old.protect).lower(), str(spec.protect).lower(), "live", "only sbx looks at it"),
        ]
    )


def attached(applied: Applied, machine: Machine | None) -> tuple[Workspace, ...]:
    """The workspaces that are there: the running machine's, else what the next start will attach."""
    if machine is None or machine.health == "starting":
        return applied.spec.workspaces
    return machine.workspaces


def held_to_another(wanted: Policy, applied: Policy, machine: Machine | None) -> bool:
    """Whether a running machine is to be told: it goes by another policy or, for the moment, by none."""
    if machine is None:
        return False
    if machine.health == "starting":  # it is going to go by the record
        return wanted != applied
    return machine.policy != fingerprint(wanted)


def mode_text(workspace: Workspace, beside: Workspace | None = None) -> str:
    """`ro` or `rw`, with what is protected besides what always is, and the source where it is shown elsewhere.

    `beside`: what it is compared with; then also whatever that one does not protect.
    """
    place = "" if workspace.source == workspace.target else f" from {workspace.source}"
    usual = set(_usually_protected(workspace.protect))
    if beside is not None and beside.mode == "rw":
        usual &= set(beside.protect)
    shown = [path for path in workspace.protect if path not in usual] if workspace.mode == "rw" else []
    protected = f" protecting {', '.join(shown)}" if shown else ""
    return f"{workspace.mode}{place}{protected}"


def _usually_protected(protect: Collection[str]) -> Iterator[str]:
    """Of what is protected what nobody has to ask for: git's own, and a project's files, which come all together."""
    for path in protect:
        directory, slash, name = path.rpartition("/")
        if path in DEFAULT_PROTECT or (name in _PROJECT_FILES and f"{directory}{slash}{_LOCK_FILE}" in protect):
            yield path


def _simple(path: str, before: str | None, after: str | None, effect: Effect, reason: str) -> Iterator[FieldChange]:
    if before != after:
        yield FieldChange(path, before, after, effect, reason)


def _image(spec: DesiredSandbox, old: DesiredSandbox, same_content: bool) -> Iterator[FieldChange]:
    if spec.image.digest != old.image.digest:
        before, after = _image_text(old), _image_text(spec)
        if same_content:
            yield FieldChange("template", before, after, "live", "it is made otherwise, and has the same content")
        else:
            yield FieldChange("template", before, after, "replace", "the disk was made from another image")
    elif spec.template != old.template:
        yield FieldChange("template", old.template, spec.template, "live", "the image is the same")


def _docker(spec: DesiredSandbox, old: DesiredSandbox) -> Iterator[FieldChange]:
    before, after = str(old.docker).lower(), str(spec.docker).lower()
    yield from _simple("docker", before, after, "restart", "its daemon comes and goes with the machine")


def _image_text(spec: DesiredSandbox) -> str:
    return f"{spec.template} ({image_text(spec.image)})"


def image_text(image: Image) -> str:
    """What an image is made of, with its short digest."""
    return f"{image.title}, {short(image.digest)}"


def _workspaces(wanted: tuple[Workspace, ...], there: tuple[Workspace, ...]) -> Iterator[FieldChange]:
    before = {workspace.target: workspace for workspace in there}
    after = {workspace.target: workspace for workspace in wanted}
    for target in sorted(before.keys() | after.keys()):
        old, new = before.get(target), after.get(target)
        if old != new:
            yield FieldChange(
                f"workspaces.{target}",
                mode_text(old, new) if old else None,
                mode_text(new, old) if new else None,
                "live",
                "workspaces come and go while the machine runs",
            )


def _order(wanted: tuple[Workspace, ...], old: tuple[Workspace, ...]) -> Iterator[FieldChange]:
    """Only when nothing else about them differs: an added or removed one says enough."""
    if sorted(wanted, key=lambda item: item.target) == sorted(old, key=lambda item: item.target):
        before, after = (", ".join(item.target for item in items) for items in (old, wanted))
        yield from _simple("workspaces", before, after, "live", "commands start in the first one")


def policy_change(wanted: Policy, applied: Policy, machine: Machine | None) -> Iterator[FieldChange]:
    """What differs of a policy. `before` is what the machine is held to, where that is not what the record says."""
    told = held_to_another(wanted, applied, machine)
    if wanted == applied and not told:
        return
    known = machine is None or machine.policy in (fingerprint(applied), fingerprint(wanted))
    if known and _without_credentials(wanted) == _without_credentials(applied):
        return  # `_secrets` says what differs
    before = policy_text(applied)
    if machine is not None and machine.health != "starting" and told and machine.policy != fingerprint(applied):
        before = f"another one ({short(machine.policy)})" if machine.policy else "none in force: nothing gets out"
    yield FieldChange("policy", before, policy_text(wanted), "live", "the gateway changes it while the sandbox runs")


def _secrets(wanted: Policy, old: Policy, stale: Collection[str]) -> Iterator[FieldChange]:
    """References alone: no value is known here."""
    before = {each.name: each for each in old.credentials}
    after = {each.name: each for each in wanted.credentials}
    for name in sorted(before.keys() | after.keys()):
        texts = [credential_text(each) if each else None for each in (before.get(name), after.get(name))]
        reason = "the gateway changes it while the sandbox runs"
        yield from _simple(f"secrets.{name}", texts[0], texts[1], "live", reason)
        if name in stale and name in after and texts[0] == texts[1]:
            reason = f"the environment has another value in {after[name].source.name}"
            yield FieldChange(f"secrets.{name}", "(old value)", "(new value)", "live", reason)


def credential_text(credential: Credential) -> str:
    """Where a value comes from and where it goes: `env ANTHROPIC_API_KEY for api.anthropic.com:443`."""
    places = ", ".join(f"{host}:{port}" for host, port in credential.bound)
    ways = dict.fromkeys(f"{each.kind} {each.name}" for each in credential.injections if each.name)
    inside = f", as a placeholder in {credential.variable}" if credential.variable else ""
    return f"{credential.source.text} for {places}{f' ({chr(44).join(ways)})' if ways else ''}{inside}"


def _ports(spec: DesiredSandbox, old: DesiredSandbox, machine: Machine | None) -> Iterator[FieldChange]:
    sides = [{(port.address, port.host): port for port in ports} for ports in (listened(old, machine), spec.ports)]
    for place in sorted(sides[0].keys() | sides[1].keys()):
        before, after = (str(side[place].guest) if place in side else None for side in sides)
        shown = (sides[1].get(place) or sides[0][place]).text.rpartition(":")[0]
        yield from _simple(f"ports.{shown}", before, after, "live", "ports come and go while the machine runs")


def listened(old: DesiredSandbox, machine: Machine | None) -> tuple[Port, ...]:
    """The ports that are there: the running machine's, else what the next start will listen on."""
    return old.ports if machine is None or machine.health == "starting" else machine.ports


def _without_credentials(policy: Policy) -> Policy:
    """Neither them nor the placeholders that they set."""
    settings = tuple(item for item in policy.settings if item[0] not in policy.placeholders)
    return replace(policy, credentials=(), settings=settings)


def given_to(spec: DesiredSandbox) -> tuple[str, ...]:
    """What of this host a new sandbox gets, in sentences without their subject."""
    return (
        *(f"sees {each.source} ({mode_text(each)})" for each in spec.workspaces),
        *(f"is given {each}" for each in told_together(spec.from_host)),
        *(f"is reached at {each.text.rpartition(':')[0]}" for each in spec.ports),
    )


def told_together(found: Iterable[FromHost]) -> tuple[str, ...]:
    """One line for all that come the same way: `A, B of .env`; each where its first one was."""
    names: dict[tuple[bool, str], list[str]] = {}
    for each in found:
        names.setdefault((each.derived, each.place), []).append(each.name or "the variables")
    return tuple(
        f"{'what the files make of ' if derived else ''}{', '.join(these)} of"
        f" {'the environment of sbx' if place == 'environment' else place}"
        for (derived, place), these in names.items()
    )


def reach_of(policy: Policy) -> tuple[str, ...]:
    """What a new sandbox can reach, in sentences without their subject."""
    from sandboxfile.policy.explain import reach  # here, as below: most plans change no policy

    return (
        *(f"is held to {layer.name}" for layer in policy.layers[:-1]),
        *(
            f"cannot reach {item.removeprefix('but not ')}" if item.startswith("but not ") else f"can reach {item}"
            for item in reach(policy)
        ),
        *(f"may use {item}" for item in _uses(policy)),
    )


def _uses(policy: Policy) -> tuple[str, ...]:
    """`the secret anthropic (env ANTHROPIC_API_KEY) at api.anthropic.com:443`, for each place."""
    return tuple(
        f"the secret {each.name} ({each.source.text}) at {host}:{port}"
        for each in policy.credentials
        for host, port in each.bound
    )


def reach_changed(wanted: Policy, applied: Policy) -> tuple[str, ...]:
    """What of its reach changes; all of it when the record's policy is one that this program cannot read."""
    if wanted == applied:
        return ()
    from sandboxfile.policy.explain import reach_changes

    before, after = _uses(applied), _uses(wanted)
    used = (
        *(f"may now use {item}" for item in after if item not in before),
        *(f"may no longer use {item}" for item in before if item not in after),
    )
    try:
        return (*reach_changes(applied, wanted), *used)
    except PolicyError:
        return reach_of(wanted)


def policy_text(policy: Policy) -> str:
    """The layers that a policy is made of, with its short digest, and whether a command changed it."""
    names = ", ".join(layer.name for layer in policy.layers)
    changed = ", changed by `sbx network proxy`" if command_edit(policy) else ""
    return f"{names} ({short(fingerprint(policy))}{changed})"


def _env(wanted: dict[str, str], old: dict[str, str]) -> Iterator[FieldChange]:
    """Values are not shown: files given by env_file hold what must not be in a log."""
    for name in sorted(wanted.keys() | old.keys()):
        if wanted.get(name) != old.get(name):
            yield FieldChange(
                f"env.{name}",
                "(old value)" if name in old else None,
                "(new value)" if name in wanted else None,
                "live",
                "for processes started from now on",
            )


def _machine_size(spec: DesiredSandbox, old: DesiredSandbox, machine: Machine | None) -> Iterator[FieldChange]:
    cpus = machine.cpus if machine else old.resources.cpus
    memory = machine.memory if machine else old.resources.memory
    reason = "a running machine keeps what it was started with"
    yield from _simple("resources.cpus", str(cpus), str(spec.resources.cpus), "restart", reason)
    yield from _simple("resources.memory", size(memory), size(spec.resources.memory), "restart", reason)


def _disk(spec: DesiredSandbox, old: DesiredSandbox, machine: Machine | None) -> Iterator[FieldChange]:
    there = old.resources.disk
    reason = "a disk grows while the machine runs" if spec.resources.disk > there else "only a new disk is smaller"
    if machine is not None and machine.disk < spec.resources.disk:
        there = machine.disk  # larger is what an interrupted apply leaves: it stays so, and does no harm
    yield from _simple("resources.disk", size(there), size(spec.resources.disk), "live", reason)


def _setup(spec: DesiredSandbox, applied: Applied) -> Iterator[FieldChange]:
    def text(commands: tuple[Command, ...]) -> str:
        return f"{len(commands)} command{'' if len(commands) == 1 else 's'}"

    old = applied.spec.setup
    if spec.setup != old:
        reason = "setup runs once, when a sandbox is created: this one keeps what it has"
        if applied.setup_done < len(old):
            reason = "it has not finished, and goes on with the first command that has not run"
        yield FieldChange("setup", text(old), text(spec.setup), "live", reason)


def _healthcheck(wanted: Healthcheck | None, old: Healthcheck | None) -> Iterator[FieldChange]:
    reason = "its health is found out anew"
    if old is None or wanted is None:
        yield from _simple("healthcheck", _check_text(old), _check_text(wanted), "live", reason)
        return
    for name, text in _CHECK.items():
        late = "counts from the next check" if name != "command" else reason
        yield from _simple(f"healthcheck.{name}", text(old), text(wanted), "live", late)


def _check_text(check: Healthcheck | None) -> str | None:
    return None if check is None else f"{_command(check.command)} every {duration(check.interval)}"


_CHECK: Mapping[str, Callable[[Healthcheck], str | None]] = {
    "command": lambda check: _command(check.command),
    "interval": lambda check: duration(check.interval),
    "timeout": lambda check: duration(check.timeout),
    "retries": lambda check: str(check.retries),
    "start_period": lambda check: duration(check.start_period),
}


def _time(spec: DesiredSandbox) -> str | None:
    return duration(spec.idle_stop) if spec.idle_stop else None


def _waits(spec: DesiredSandbox) -> str | None:
    """`db (healthy), queue`."""
    texts = (f"{e.name}{'' if e.condition == 'started' else f' ({e.condition})'}" for e in spec.depends_on)
    return ", ".join(texts) or None


def _command(command: Command | None) -> str | None:
    return None if command is None else " ".join(command.argv)
