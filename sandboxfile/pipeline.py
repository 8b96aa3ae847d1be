"""The whole road, top to bottom: text -> what is wanted -> what is there -> plan -> apply. Read this first.

What `cli` and other programs call. Nothing here decides or touches anything itself.
"""

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sandboxfile.diagnostics import Diagnostics, as_warnings, error, has_errors, in_order
from sandboxfile.errors import NotFoundError
from sandboxfile.host.agent_files import workspace_credentials
from sandboxfile.host.files import read_file
from sandboxfile.host.inputs import contents_of, detours_of, gather, programs_of
from sandboxfile.host.layout import MACHINE_POLICY, SANDBOX_FILES, Layout
from sandboxfile.host.lock_file import LockFile, lock_path, read_lock
from sandboxfile.host.policy_files import read_policy_files
from sandboxfile.host.project_files import located, overrides_of, read_named
from sandboxfile.host.reading import DISK, Reader
from sandboxfile.host.statedir import ensure_directories, hold_lock, read_record
from sandboxfile.host.trust import expose, remembered
from sandboxfile.host.variables import PROFILES, Variables, chosen_profiles, read_variables
from sandboxfile.language.document import decode
from sandboxfile.language.loading import Text, load_files
from sandboxfile.language.tree import Node
from sandboxfile.language.validate import load_project
from sandboxfile.model.desired import DesiredSandbox, DesiredState, FileContent
from sandboxfile.model.observed import ObservedState
from sandboxfile.model.plan import (
    AttachWorkspace,
    CheckpointSandbox,
    CreateSandbox,
    DeleteVolume,
    Plan,
    PlanOptions,
    ProvideSecrets,
    StartSandbox,
    UpdateRecord,
)
from sandboxfile.model.spec import SandboxFile
from sandboxfile.names import UNMANAGED, SandboxId, VolumeId
from sandboxfile.observe import observe, observe_blocking, writable_now
from sandboxfile.planning import plan, plan_verb
from sandboxfile.planning.checkpoints import with_checkpoints
from sandboxfile.planning.trusting import ABSENT, closed_by, contents, covers, digest_of, guards_of
from sandboxfile.planning.verbs import Verb, plan_volume_deletion
from sandboxfile.resolve.locking import LockState, cached_problems, lock_problems, lock_state
from sandboxfile.resolve.policies import PolicyTest, policy_tests
from sandboxfile.resolve.policy_tests import run_policy_tests
from sandboxfile.resolve.project import resolve
from sandboxfile.resolve.taking import Asked, with_variables

if TYPE_CHECKING:  # only who applies has any
    from sandboxfile.model.events import Event, Outcome

NOWHERE = Path("/dev/null/sandbox.yaml")  # nothing can be there, and so no lock either
_ANYBODY = "sandboxes: {any: {}}\n"  # asks for nothing: what it is held to, user and machine enforce
# What comes of it when this host lacks something for a plan: a refusal; one of missing programs alone; words.
Fit = Literal["refuse", "overcommit", "warn"]


@dataclass(frozen=True, slots=True)
class Given:
    """What was given on the command line besides the sandbox file.

    `more` files are merged upon it, in order; `override`: else the one beside it is. Of `env_files` later ones count.
    """

    more: tuple[Path, ...] = ()
    override: bool = True
    env_files: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Loaded:
    """A sandbox file, read. `desired` is None when it is wrong; `sources` are texts by file name, for snippets.

    `file` is what could be understood of it; `whole` when that is all, and the policy files of user and machine are
    right too. Only then there are `policy_tests`: those of all policies in sight. What `lock` pins is in `desired`;
    `lock_states` say how each template stands with it. `root` is the tree of the file, with its variables replaced.
    `files` are all of the project that it was read from, each as it was when it was read; `configuration` what of this
    user and machine shapes it besides, where links to workspaces lead, and what commands of secrets run. `desired` has
    both.
    """

    desired: DesiredState | None
    diagnostics: Diagnostics
    sources: dict[str, str]
    file: SandboxFile | None = None
    policy_tests: tuple[PolicyTest, ...] = ()
    today: str = ""
    lock: LockFile | None = None
    lock_states: tuple[LockState, ...] = ()
    root: Node | None = None
    files: tuple[FileContent, ...] = ()
    configuration: tuple[FileContent, ...] = ()

    @property
    def everything(self) -> tuple[FileContent, ...]:
        """`files` and `configuration`."""
        return contents((*_pairs(self.files), *_pairs(self.configuration)))


def load(
    path: Path,
    layout: Layout,
    content: bytes | None = None,
    *,
    machine_policy: Path = MACHINE_POLICY,
    frozen: bool | None = False,
    templates: Collection[str] = (),
    given: Given = Given(),
    reader: Reader = DISK,
) -> Loaded:
    """Read, parse, validate and resolve one sandbox file, with its lock. Raises SandboxfileError when it is unreadable.

    With `content`: as if that stood in the file. With `frozen` it is an error when one of the `templates` (none given:
    those that sandboxes use) is not as it was locked; None: nobody is told how that stands. `reader`: where the files
    are, when they are not on the disk.
    """
    loaded = _load(path, layout, content, machine_policy, given=given, reader=reader)
    lock = read_lock(lock_path(path), read_file if reader is DISK else reader.read)
    loaded = replace(
        loaded,
        diagnostics=in_order(loaded.diagnostics + lock.problems),
        sources={**loaded.sources, **lock.sources},
        lock=lock,
        files=_with_lock(loaded.files, lock),
    )
    if loaded.desired is None or loaded.file is None or lock.problems:
        return replace(loaded, desired=None)
    desired, states = lock_state(loaded.desired, lock.lock, bool(frozen))
    used = templates or [state.template for state in states if state.used_by]
    named = lock.path.name if lock.lock else ""
    found = lock_problems(states, loaded.file, named, used if frozen else ()) if frozen is not None else ()
    return replace(
        loaded,
        desired=None if has_errors(found) else replace(desired, files=loaded.everything),
        diagnostics=in_order((*loaded.diagnostics, *found, *workspace_credentials(desired))),
        lock_states=states,
    )


def load_command(text: str, layout: Layout, beside: Path = NOWHERE, *, machine_policy: Path = MACHINE_POLICY) -> Loaded:
    """What a command asks for, as the text of a file with one sandbox: an unmanaged one, which no file describes.

    `beside`: the sandbox file that templates or policies in the text were taken from. Its lock pins them, and what is
    relative counts from there.
    """
    loaded = _load(beside, layout, text.encode(), machine_policy, command="command")
    lock = read_lock(lock_path(beside))
    sources = {**loaded.sources, **lock.sources}
    loaded = replace(loaded, diagnostics=in_order(loaded.diagnostics + lock.problems), sources=sources, lock=lock)
    if loaded.desired is None or lock.problems:
        return replace(loaded, desired=None)
    desired, states = lock_state(loaded.desired, lock.lock)
    diagnostics = in_order((*loaded.diagnostics, *workspace_credentials(desired)))
    loaded = replace(loaded, diagnostics=diagnostics, lock_states=states, files=_with_lock(loaded.files, lock))
    return replace(loaded, desired=replace(desired, files=loaded.everything))


def _load(
    path: Path,
    layout: Layout,
    content: bytes | None,
    machine_policy: Path,
    command: str = "",
    given: Given = Given(),
    reader: Reader = DISK,
) -> Loaded:
    """With `command` the content is that of no file, goes by this name, and has neither variables nor other files."""
    name = command or str(path)
    text, problems = decode(reader.read(path) if content is None else content, name)
    if text is None:
        return Loaded(None, problems, {})
    policies = read_policy_files(layout, machine=machine_policy)
    upon, beside = ((), ()) if command else _upon(path, given, reader)
    texts = [Text(name, text)]
    for other in upon:
        text, reason = read_named(str(other), reader.read)
        problems += (error("File not readable", f"`{other}`: {reason}."),) if text is None else ()
        texts += [Text(str(other), text)] if text is not None else []
    asked: list[Asked] = []
    variables: list[Variables] = []  # read when they are used: nobody's `.env` is looked at, or kept from agents, else

    def values() -> Mapping[str, str]:
        if not variables:
            where = (path.parent, given.env_files, os.environ, reader.read)
            variables.append(Variables() if command else read_variables(*where))
            asked.append(Asked(variables[0].values))
        return asked[0]

    files = load_files(texts, values, partial(read_named, read=reader.read))
    file, found = load_project(files, policies.names)
    if file is not None and any(spec.profiles for spec in (file.defaults, *file.sandboxes.values())):
        values()  # as Compose does: they may say which profiles are meant
    used = variables[0] if variables else Variables()
    sources = {**policies.sources, **used.sources, **files.sources}
    problems += used.problems
    if file is None or files.document is None:
        return Loaded(None, in_order(problems + found + policies.problems), sources)
    if has_errors(policies.problems + problems):
        file.placed({}, whole=False)
    beside += used.files + tuple(path.parent / located(other) for other in files.others)
    project = UNMANAGED if command else ""
    inputs = gather(file, path, layout, os.environ, policies, project=project, beside=beside, reader=reader)
    desired, more = resolve(file, inputs)
    if desired is not None and asked:
        desired = with_variables(desired, asked[0], os.environ)
        desired = replace(desired, chosen=() if PROFILES in os.environ else chosen_profiles(used.values))
    tests = policy_tests(file, inputs) if file.whole else ()
    root = files.document.root
    read = contents((*_texts(used.sources, files.sources, beside, command), *contents_of(inputs)))
    loaded = Loaded(desired, in_order(problems + found + more), sources, file, tests, inputs.today, root=root)
    of_host = (*detours_of(file, inputs), *programs_of(file, inputs, layout))
    besides = contents((*_pairs(inputs.configuration), *of_host))
    return replace(loaded, files=read, configuration=besides)


def _texts(
    variables: Mapping[str, str], files: Mapping[str, str], beside: Collection[Path], command: str
) -> Iterator[tuple[str, str]]:
    """What was read as text, by absolute path, with its digest; and what would have been, had it been there."""
    texts = {name: text for name, text in {**variables, **files}.items() if name != command}
    yield from ((_absolute(name), digest_of(text) if text else ABSENT) for name, text in texts.items())
    known = {_absolute(name) for name in texts}
    yield from ((path, ABSENT) for path in map(_absolute, map(str, beside)) if path not in known)


def _absolute(name: str) -> str:
    """Where a file is that is called so. `..` is kept: what it leads to depends on what is before it."""
    return str(Path.cwd() / located(name))


def _with_lock(files: tuple[FileContent, ...], lock: LockFile) -> tuple[FileContent, ...]:
    here = () if lock.path.parent == NOWHERE.parent else ((_absolute(str(lock.path)), lock.digest),)
    return contents((*_pairs(files), *here))


def _pairs(files: Collection[FileContent]) -> Iterator[tuple[str, str]]:
    return ((file.path, file.digest) for file in files)


def _upon(path: Path, given: Given, reader: Reader) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """What is merged upon the sandbox file; and all that is or would be, which agents must not write."""
    if given.more or not given.override or path.name not in SANDBOX_FILES:
        return given.more, given.more
    overrides = overrides_of(path)
    return tuple(other for other in overrides if reader.exists(other))[:1], overrides


def failed_policy_tests(loaded: Loaded) -> Diagnostics:
    """What the tests written with the policies find: an error for each request that is decided otherwise."""
    return run_policy_tests(loaded.policy_tests, loaded.today)


async def make_plan(desired: DesiredState, layout: Layout, options: PlanOptions, fit: Fit | None = None) -> Plan:
    """What `up` (or `down`, by the options' goal) would do. Changes nothing."""
    return _planned(desired, await observe(layout, desired.project), layout, options, fit)


def make_plan_blocking(desired: DesiredState, layout: Layout, options: PlanOptions, fit: Fit | None = None) -> Plan:
    """The same, outside of an event loop."""
    return _planned(desired, observe_blocking(layout, desired.project), layout, options, fit)


def _planned(
    desired: DesiredState, observed: ObservedState, layout: Layout, options: PlanOptions, fit: Fit | None
) -> Plan:
    made = plan(desired, observed, options)
    made = refused(made, cached_problems(desired, observed.images))
    if options.goal == "up":
        made = replace(made, files=desired.files, whole=covers(desired, options))
    elif any(isinstance(step.operation, DeleteVolume) for step in made.steps):
        # Else whoever takes down has no need of what the file says; data are lost by its word alone.
        made = replace(made, files=desired.files, whole=False)
    return fitted([(made, observed)], layout, fit)[0]


async def make_rollback(
    project: str, layout: Layout, *, allow_destroy: bool = False, fit: Fit | None = None, checkpoint: str = ""
) -> Plan:
    """What makes a project as it was before the last apply. Raises NotFoundError when nothing tells how that was.

    `checkpoint`: the label of those that are made before, as in PlanOptions.
    """
    # Imported here, as in `apply_plan`: to plan costs less without, and is done more often.
    from sandboxfile.host.history import kept, read_before
    from sandboxfile.planning.rollback import held_today, plan_rollback

    before = read_before(layout, project)
    if before is None:
        raise NotFoundError(f"nothing is known of how {project} was before", hint="`sbx up` remembers it")
    observed = await observe(layout, project)
    anybody = load_command(_ANYBODY, layout)
    enforced = anybody.desired.sandboxes[0].policy.layers if anybody.desired is not None else ()
    before = held_today(before, (layer for layer in enforced if layer.enforced))
    made = plan_rollback(before, observed, kept(layout, project), allow_destroy)
    made = with_checkpoints(made, observed, checkpoint)
    made = made if anybody.desired is not None else refused(made, anybody.diagnostics)
    return fitted([(refused(made, missing_workspaces(made)), observed)], layout, fit)[0]


async def kept_before(given: Plan, layout: Layout, label: str) -> Plan:
    """A plan that was made before, with checkpoints of the disks that it puts at risk; without a label as it is."""
    return with_checkpoints(given, await observe(layout, given.project), label) if label else given


async def make_verb_plans(
    verb: Verb, ids: Collection[SandboxId], layout: Layout, *, allow_destroy: bool = False, fit: Fit | None = None
) -> list[Plan]:
    """start, stop, restart or remove some sandboxes: a plan for each of their projects."""
    found = [await observe(layout, project) for project in sorted({id.project for id in ids})]
    return fitted([(plan_verb(verb, each, ids, allow_destroy), each) for each in found], layout, fit)


async def make_volume_deletions(ids: Collection[VolumeId], layout: Layout) -> list[Plan]:
    """Delete volumes: a plan for each of their projects."""
    found = [await observe(layout, project) for project in sorted({id.project for id in ids})]
    return [plan_volume_deletion(each, ids) for each in found]


def fitted(plans: list[tuple[Plan, ObservedState]], layout: Layout, fit: Fit | None) -> list[Plan]:
    """The plans with what this host lacks for all of them together, told with the first; without `fit` as they are."""
    made = [plan for plan, _ in plans]
    if fit is None or not any(plan.steps for plan in made):
        return made
    from sandboxfile.host.capacity import measure  # here, as below: a plan of nothing needs no room
    from sandboxfile.planning.fit import check_fit

    operations = [step.operation for plan in made for step in plan.steps]
    copied = [each.id for each in operations if isinstance(each, CheckpointSandbox)]
    found = check_fit(plans, measure(layout, os.environ, copied), overcommit=fit == "overcommit")
    found = as_warnings(found) if fit == "warn" else found
    rest = found if has_errors(found) else ()
    return [refused(plan, rest if index else found, shown=not index) for index, plan in enumerate(made)]


def missing_workspaces(plan: Plan) -> Diagnostics:
    """Directories that a plan mounts and that are gone: one that is not made of a file as it is now may have some."""
    found: dict[str, str] = {}
    for operation in (step.operation for step in plan.steps):
        match operation:
            case CreateSandbox(spec) | UpdateRecord(spec):
                found |= {workspace.source: str(spec.id) for workspace in spec.workspaces}
            case AttachWorkspace(id, workspace):
                found[workspace.source] = str(id)
    hint = "make it again, or change the file and `sbx up`"
    return tuple(
        error("Workspace not found", f"`{source}` of {id}: there is no such directory.", None, hint)
        for source, id in sorted(found.items())
        if not Path(source).is_dir()
    )


def refused(plan: Plan, problems: Diagnostics, *, shown: bool = True) -> Plan:
    """The plan with these problems; errors leave it without steps."""
    steps = () if has_errors(problems) else plan.steps
    return replace(plan, diagnostics=plan.diagnostics + (problems if shown else ()), steps=steps)


def users_of_secrets(plans: Collection[Plan], layout: Layout) -> tuple[DesiredSandbox, ...]:
    """The sandboxes that begin to use secrets by these plans, as they are going to be: started, or held to new ones."""
    found: dict[SandboxId, DesiredSandbox] = {}
    for operation in (step.operation for each in plans for step in each.steps):
        match operation:
            case CreateSandbox(spec) | UpdateRecord(spec):
                found[operation.spec.id] = spec
            case StartSandbox(id) | ProvideSecrets(id):
                if id not in found:
                    found[id] = read_record(layout.sandbox(id)).spec
    return tuple(spec for spec in found.values() if spec.policy.credentials)


def secret_problems(
    specs: Collection[DesiredSandbox],
    layout: Layout,
    *,
    run_commands: bool = True,
    tell_errors: bool = False,
    given: Collection[str] = (),
) -> Diagnostics:
    """What these sandboxes' secrets lack, but for those `given` already, said before anything boots.

    Of commands, those that are approved are run.
    """
    credentials = [each for spec in specs for each in spec.policy.credentials if each.name not in given]
    if not credentials:
        return ()
    from sandboxfile.secrets.needs import problems

    return in_order(problems(credentials, layout, os.environ, run_commands, tell_errors=tell_errors))


async def _expose(layout: Layout, plan: Plan) -> None:
    """Remember what agents can write to by this plan. Raises StateError."""
    opened, left = guards_of(plan), remembered(layout, closed_by(plan))
    if opened or left:
        expose(layout, opened, left, await writable_now(layout))


async def apply_plan(
    plan: Plan,
    layout: Layout,
    emit: "Callable[[Event], None]",
    *,
    lock_timeout: float = 0.0,
    parallel: int = 4,
    on_interrupted: Callable[[tuple[str, ...]], None] | None = None,
) -> "Outcome":
    """Carry a plan out, alone on its project; waits up to `lock_timeout` seconds for that.

    `on_interrupted` is told the steps that an earlier, killed apply was at. Raises BusyError, StaleError.
    """
    import anyio.to_thread

    from sandboxfile.applying.drivers import HostDrivers
    from sandboxfile.applying.executor import execute
    from sandboxfile.applying.journal import Journal, interrupted_steps
    from sandboxfile.applying.remembering import Remembering
    from sandboxfile.applying.storage import sweep

    ensure_directories(layout)
    async with hold_lock(layout.project_lock(plan.project), "apply a plan", lock_timeout):
        steps = interrupted_steps(layout.journal(plan.project))
        if steps is not None and on_interrupted is not None:
            on_interrupted(steps)
        await anyio.to_thread.run_sync(sweep, layout, plan.project)
        await _expose(layout, plan)
        remembering = Remembering(layout, plan)
        with Journal(layout.journal(plan.project), plan) as journal:

            def note(event: "Event") -> None:
                remembering.note(event)
                journal.note(event)
                emit(event)

            outcome = await execute(plan, HostDrivers(layout, partial(observe, layout)), note, parallel=parallel)
        await anyio.to_thread.run_sync(remembering.ended, outcome)
        return outcome
