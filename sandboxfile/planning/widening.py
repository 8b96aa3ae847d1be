"""By which a sandbox, or the build of a template, may do more than before, or less. Pure; said once, here.

What cannot be shown to be neutral or less counts as more. Neutral, because it happens inside, and the border around the
machine is the same: what its agent, user, commands, environment and Docker daemon are (root inside gets no further than
anybody there: policy, mounts and ports are held to outside of it), its size, and when it is started, stopped or looked
at. What comes with an agent (hosts, secrets) is part of its policy, and counts there. Neutral is not harmless: whoever
chooses the command of a sandbox does all that it may. So this is no measure for files of an agent; `trusting` has that.

Sentences of rules end in where the rule is from: `web can now reach api.example.com:443 [sandbox.yaml:12:9]`.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Literal

from sandboxfile.errors import PolicyError
from sandboxfile.model.credential import Credential, Injection
from sandboxfile.model.desired import DesiredSandbox, Mount, Port, Workspace
from sandboxfile.model.fingerprint import fingerprint
from sandboxfile.model.plan import CreateSandbox, DeleteSandbox, Plan, Shift, Step, UpdateRecord
from sandboxfile.model.policy import Policy
from sandboxfile.model.template import DesiredTemplate, Origin
from sandboxfile.planning.changes import mode_text, reach_of, told_together

if TYPE_CHECKING:
    from sandboxfile.policy.explain import Widened

Kind = Literal["reach", "mount", "secret", "protection", "port", "host"]
_GIT = ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL")
_INSTEAD = {"sandbox.yml": "sandbox.yaml"}  # a file that nobody loads while the other one is there
_DIGITS = 12  # of a digest, for people
_ANYWHERE = {4: "0.0.0.0", 6: "::"}  # noqa: S104 - what a file says, by the version of the address
# A root that begins with what this host has, or asks a registry for.
_HOST_ORIGINS = {"local": "docker:", "saved": "saved:", "tar": "tar:", "oci": "oci:"}


def widening(plan: Plan) -> tuple[Shift, ...]:
    """All by which something may do more than before, in the order of the plan's changes."""
    return plan.widenings


def shifts(before: DesiredSandbox | None, after: DesiredSandbox, there: Collection[str] = ()) -> tuple[Shift, ...]:
    """How a sandbox changes. None: it is new, and everything that it may do is more. `there`: volumes that exist."""
    found = chain(
        _workspaces(before.workspaces if before else (), after.workspaces, new=before is None),
        _mounts(before.mounts if before else (), after.mounts, there),
        _host(before, after),
        _ports(before.ports if before else (), after.ports),
        _policy(before.policy if before else None, after.policy),
        _secrets(before.policy.credentials if before else (), after.policy.credentials, new=before is None),
        _protection(before, after),
    )
    return _about(after.id.name, found)


def taken_away(before: DesiredSandbox) -> tuple[Shift, ...]:
    """For a sandbox that is no more."""
    return _about(before.id.name, [_less("reach", "is taken away")])


def template_shifts(before: DesiredTemplate | None, after: DesiredTemplate) -> tuple[Shift, ...]:
    """How the build of a template changes: what of this host it takes, and what it can reach. None: nobody knows."""
    was, now = _ingredients(before), _ingredients(after)
    found = [_more("host", sentence) for sentence in now if sentence not in was]
    still = _built_by_host(before) if _built_by_host(after) else ""  # of another Dockerfile: that is no less
    found += [_less("host", f"no longer: {sentence}") for sentence in was if sentence not in now and sentence != still]
    if _runs(after):
        build = _policy(before.policy if before and _runs(before) else None, after.policy)
        found += (Shift(each.direction, each.kind, f"its build {each.text}") for each in build)
    return _about(f"template {after.name}:", found)


def image_shifts(
    sandbox: DesiredSandbox, after: DesiredTemplate, before: DesiredTemplate | None = None
) -> tuple[Shift, ...]:
    """What of this host comes into a sandbox that is new, or made from another image than `before`."""
    was, name = _ingredients(before), sandbox.template  # templates of the same recipe have one image
    told = [_more("host", f"is made from {name}: {each}") for each in _ingredients(after) if each not in was]
    return _about(sandbox.id.name, told)


def planned_shifts(
    steps: Iterable[Step],
    before: DesiredSandbox | None,
    templates: Mapping[str, DesiredTemplate],
    there: Collection[str] = (),
) -> tuple[Shift, ...]:
    """What the steps of one sandbox come to. `before`: as it was applied; `templates` by their recipe's digest.

    `there` are the names of the volumes that exist: what is on them comes with them.
    """
    done = [step.operation for step in steps]
    wanted = [each.spec for each in done if isinstance(each, CreateSandbox | UpdateRecord)]
    if not wanted:
        gone = before is not None and any(isinstance(each, DeleteSandbox) for each in done)
        return taken_away(before) if gone and before is not None else ()
    return shifts_to(wanted[-1], before, templates, there)


def shifts_to(
    after: DesiredSandbox,
    before: DesiredSandbox | None,
    templates: Mapping[str, DesiredTemplate],
    there: Collection[str] = (),
) -> tuple[Shift, ...]:
    """How a sandbox changes, with what it is made from; as for `planned_shifts`."""
    image = after.image.digest
    if image not in templates or (before is not None and before.image.digest == image):
        return shifts(before, after, there)
    return shifts(before, after, there) + image_shifts(after, templates[image])


def _more(kind: Kind, text: str) -> Shift:
    return Shift("widens", kind, text)


def _less(kind: Kind, text: str) -> Shift:
    return Shift("tightens", kind, text)


def _about(subject: str, found: Iterable[Shift]) -> tuple[Shift, ...]:
    """With their subject; each once, what is more first."""
    told = [Shift(each.direction, each.kind, f"{subject} {each.text}") for each in found]
    return tuple(dict.fromkeys(sorted(told, key=lambda shift: shift.direction != "widens")))


# --- what it sees of this host -----------------------------------------------------------------------------------


def _workspaces(before: Iterable[Workspace], after: Iterable[Workspace], *, new: bool) -> Iterator[Shift]:
    """By their source: what lies in a directory may be a link to elsewhere by the time that it is mounted.

    At another target it is another one: where something is mounted can be seen inside, and may say something.
    """
    was, now = {each.target: each for each in before}, {each.target: each for each in after}
    for target, workspace in now.items():
        old = was.get(target)
        same = old if old is not None and old.source == workspace.source else None
        if same is None or not _sees_no_more(same, workspace):
            yield _more("mount", _as_seen(workspace, same, new))
    for target, old in was.items():
        there = now.get(target)
        if there is None or there.source != old.source:
            yield _less("mount", f"no longer sees {old.source} at {target}")
        elif there != old and _sees_no_more(old, there):
            yield _less("mount", f"sees {target} only {mode_text(there, old)}")


def _as_seen(workspace: Workspace, same: Workspace | None, new: bool) -> str:
    if new:
        return f"sees {workspace.source} ({mode_text(workspace)})"
    if same is None:
        place = f" at {workspace.target}" if workspace.target != workspace.source else ""
        return f"now sees {workspace.source}{place} ({mode_text(workspace)})"
    if same.mode != "rw":
        return f"may now write to {workspace.source} ({mode_text(workspace)})"
    open_now = ", ".join(no_longer_protected(same, workspace))
    return f"may now write to {open_now} in {workspace.source}, no longer protected"


def no_longer_protected(old: Workspace, new: Workspace) -> list[str]:
    """What of a directory the one leaves read-only and the other does not, sorted."""
    return sorted(path for path in old.protect if not _protected(path, new))


def _sees_no_more(old: Workspace, new: Workspace) -> bool:
    """Both of one source."""
    if new.mode == "rw" and old.mode != "rw":
        return False
    return new.mode == "ro" or not no_longer_protected(old, new)


def _protected(path: str, workspace: Workspace) -> bool:
    """Whether it, or a directory that it is in, is; or the file that is loaded in its stead."""
    head, slash, name = path.rpartition("/")
    paths = (path, f"{head}{slash}{_INSTEAD[name]}") if name in _INSTEAD else (path,)
    return any(each == held or each.startswith(f"{held.rstrip('/')}/") for each in paths for held in workspace.protect)


def _mounts(before: Iterable[Mount], after: Iterable[Mount], there: Collection[str]) -> Iterator[Shift]:
    """One at another target is another one, as with workspaces."""
    was, now = frozenset(before), frozenset(after)
    yield from (
        _more("mount", f"has the {'existing ' if each.volume in there else ''}volume {each.volume} at {each.target}")
        for each in sorted(now - was)
    )
    gone = {each.volume for each in was} - {each.volume for each in now}
    yield from (_less("mount", f"no longer has the volume {name}") for name in sorted(gone))


def _host(before: DesiredSandbox | None, after: DesiredSandbox) -> Iterator[Shift]:
    """Variables and files of this host, and whose commits are its commits."""
    was, now = before.from_host if before else (), after.from_host
    more, less = (each for each in now if each not in was), (each for each in was if each not in now)
    yield from (_more("host", f"is given {each}") for each in told_together(more))
    yield from (_less("host", f"is no longer given {each}") for each in told_together(less))
    old, new = ({name: value for name, value in spec.env if name in _GIT} if spec else {} for spec in (before, after))
    if new and any(old.get(name) != value for name, value in new.items()):
        yield _more("host", "commits by another name" if old else "commits by a name that is set for it")
    elif old and not new:
        yield _less("host", "no longer commits by a name that is set for it")


def _ports(before: Iterable[Port], after: Iterable[Port]) -> Iterator[Shift]:
    was, now = tuple(before), tuple(after)
    yield from (_more("port", f"is reached at {_place(port)}") for port in now if not _was_open(port, was))
    places = {(port.address, port.host) for port in now}
    closed = (port for port in was if (port.address, port.host) not in places)
    yield from (_less("port", f"is no longer reached at {_place(port)}") for port in closed)


def _place(port: Port) -> str:
    return port.text.rpartition(":")[0]


def _was_open(port: Port, was: tuple[Port, ...]) -> bool:
    addresses = (port.address, _ANYWHERE[6 if ":" in port.address else 4])
    return any(old.address in addresses and (old.host, old.guest) == (port.host, port.guest) for old in was)


# --- what it reaches, and with which secrets ---------------------------------------------------------------------


def _policy(before: Policy | None, after: Policy) -> Iterator[Shift]:
    if before == after:
        return
    from sandboxfile.policy.explain import tightenings, widened  # here: most plans change no policy

    try:
        more = widened(before, after)
        less = tightenings(before, after) if before is not None else ()
    except PolicyError:  # of a record that another version wrote: nobody knows what it let through
        yield from (_more("reach", sentence) for sentence in reach_of(after) if sentence.startswith("can reach "))
        return
    for change in more:
        text = change.text if before is not None else _as_new(change.text)
        yield _more("protection" if change.protects else "reach", f"{text}{_whence(change)}")
    for sentence in less:
        yield _less("reach" if " reach " in sentence else "protection", sentence)


def _as_new(sentence: str) -> str:
    """Without a before there is no now."""
    return sentence.replace("is no longer ", "is not ", 1).replace(" now ", " ", 1)


def _whence(change: "Widened") -> str:
    parts = (change.rule.origin, change.rule.place) if change.rule is not None else ()
    told = ", ".join(part for part in parts if part)
    return f" [{told}]" if told else ""


def _secrets(before: Iterable[Credential], after: Iterable[Credential], *, new: bool) -> Iterator[Shift]:
    """By where a value comes from and where it goes; what a secret is called does not count."""
    was, now = tuple(before), tuple(after)
    for secret in now:
        same = [old for old in was if old.source == secret.source]
        if secret.source.kind == "command" and not same:
            yield _more("host", f"has `{' '.join(secret.source.command)}` run on this host, for {secret.name}")
        for place in _by_place(secret):
            there = [old for old in same if place in _by_place(old)]
            if there:
                yield from _used_freer(secret, place, there)
                continue
            text = f"{'may use' if new else 'may now use'} {_use(secret, place)}"
            yield _more("secret", f"{text}{f' [{secret.place}]' if secret.place else ''}")
    for secret in was:
        left = {place for each in now if each.source == secret.source for place in _by_place(each)}
        gone = (place for place in _by_place(secret) if place not in left)
        yield from (_less("secret", f"may no longer use {_use(secret, place)}") for place in gone)


def _used_freer(secret: Credential, place: tuple[str, int], there: Iterable[Credential]) -> Iterator[Shift]:
    """At a place where it was used before: what one secret may do there says nothing of another place."""
    was, where = tuple(there), f"{place[0]}:{place[1]}"
    if secret.variable and not any(old.variable for old in was):
        yield _more("secret", f"may now put the secret {secret.name} wherever it likes in requests to {where}")
    if secret.known and not any(old.known for old in was):
        yield _more("protection", f"uses the secret {secret.name} at {where} without anybody's approval")
    before = [way for old in was for way in _by_place(old)[place]]
    if not all(any(_no_freer(way, old) for old in before) for way in _by_place(secret)[place]):
        yield _more("secret", f"sends otherwise than before {_use(secret, place)}")


def _by_place(secret: Credential) -> dict[tuple[str, int], list[Injection]]:
    return {place: [way for way in secret.injections if (way.host, way.port) == place] for place in secret.bound}


def _use(secret: Credential, place: tuple[str, int]) -> str:
    return f"the secret {secret.name} ({secret.source.text}) at {place[0]}:{place[1]}"


def _no_freer(way: Injection, old: Injection) -> bool:
    """The same header or parameter, on no other paths, with no fewer headers taken away."""
    same = (way.kind, way.name, way.value, way.basic) == (old.kind, old.name, old.value, old.basic)
    paths = not old.paths or (bool(way.paths) and set(way.paths) <= set(old.paths))
    return same and paths and set(old.drops) <= set(way.drops)


# --- the rest ----------------------------------------------------------------------------------------------------


def _protection(before: DesiredSandbox | None, after: DesiredSandbox) -> Iterator[Shift]:
    if before is not None and before.protect != after.protect:
        if before.protect:
            yield _more("protection", "may be replaced or deleted without --allow-destroy")
        else:
            yield _less("protection", "is replaced or deleted only with --allow-destroy")


def _runs(template: DesiredTemplate) -> bool:
    """Whether its build runs in a machine, behind its policy."""
    return any(step.kind != "files" for step in template.recipe.steps)


def built_by_host(origin: Origin) -> str:
    """Of a Dockerfile, by all that makes it another one: nothing bounds what any change of it can do."""
    parts = [f"{origin.dockerfile} of context {origin.digest.removeprefix('sha256:')[:_DIGITS] or 'unknown'}"]
    parts += [f"target {origin.target}"] if origin.target else []
    parts += [f"arguments {fingerprint(origin.args)[:_DIGITS]}"] if origin.args else []
    return f"its Dockerfile is built by this host's own builder, behind no policy of sbx ({', '.join(parts)})"


def _built_by_host(template: DesiredTemplate | None) -> str:
    return built_by_host(template.recipe.origin) if template and template.recipe.origin.kind == "dockerfile" else ""


def _ingredients(template: DesiredTemplate | None) -> tuple[str, ...]:
    """What of this host an image is made from."""
    if template is None:
        return ()
    origin, found = template.recipe.origin, []
    if origin.kind == "dockerfile":
        found.append(built_by_host(origin))
        found.append(f"its builder is given {origin.path}")
    elif origin.kind in _HOST_ORIGINS:
        found.append(f"its image begins as {_HOST_ORIGINS[origin.kind]}{origin.reference or origin.path}")
    files = (file for step in template.recipe.steps for file in step.files)
    return (*found, *(f"its image gets {file.source} as {file.target}" for file in files))
