"""`plan`: all sandboxes of a project, the images and the platform that they need, orphans, refusals."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from sandboxfile.diagnostics import Diagnostic, error, in_order
from sandboxfile.model.desired import Dependency, DesiredSandbox, DesiredState
from sandboxfile.model.observed import ObservedSandbox, ObservedState
from sandboxfile.model.plan import (
    BuildImage,
    Change,
    CreateSandbox,
    Plan,
    PlanOptions,
    PreparePlatform,
    StartSandbox,
    Step,
)
from sandboxfile.model.policy import NO_POLICY
from sandboxfile.model.template import DesiredTemplate, Origin
from sandboxfile.names import SandboxId
from sandboxfile.planning.changes import image_text, reach_of
from sandboxfile.planning.checkpoints import with_checkpoints
from sandboxfile.planning.ordering import BEGINS, Chain, ordered
from sandboxfile.planning.sandbox import PLATFORM_KEY, Part, converge, guard, image_key, take_down
from sandboxfile.planning.selection import is_named, select
from sandboxfile.planning.sleeping import needed
from sandboxfile.planning.snapshot import observation_fingerprint
from sandboxfile.planning.volumes import NOTHING, Deletion, delete_volumes, furnish, pass_on
from sandboxfile.planning.widening import built_by_host, planned_shifts, shifts_to, template_shifts


def plan(desired: DesiredState, observed: ObservedState, options: PlanOptions) -> Plan:
    """What makes `observed` as `desired`; with refusals there are no steps. For goal `down`: what removes it all."""
    selection = select(desired, options)
    refusals = [*selection.problems, *_other_file(desired, observed)]
    found = {sandbox.id: sandbox for sandbox in sorted(observed.sandboxes, key=lambda sandbox: sandbox.id)}
    wanted = sorted(desired.sandboxes, key=lambda spec: spec.id)
    chosen = selection.chosen
    orphans = _orphans(desired, observed, options)
    parts: list[Part] = []
    if options.goal == "down":
        kept = {spec.id for spec in wanted if spec.protect}
        gone = [sandbox for id, sandbox in found.items() if not options.only or is_named(sandbox, options.only)]
        parts += [removal(s, options.allow_destroy, "the project is taken down", s.id in kept) for s in gone]
        orphans = []
    else:
        contents = _contents(desired, observed)
        refusals += _missing_bases(desired, chosen)

        def part(s: DesiredSandbox, wake: bool, again: str) -> Part:
            content, anew = contents.get(s.image.digest, ""), s.id.name in selection.anew
            there = found.get(s.id)
            made = converge(s, desired.source, there, options.allow_destroy, content, anew=anew, wake=wake, again=again)
            return furnish(made, s, desired.volumes, observed, desired.source)

        parts += _as_needed(chosen, found, part, wake=bool(options.only))
        if options.remove_orphans:
            cause, keep = "it is no longer in the file", bool(desired.source)
            destroy = options.allow_destroy
            parts += [removal(found[id], destroy, cause, keep=keep, checkpoints=False) for id in orphans]
            orphans = []
    waits = {spec.id: spec.depends_on for spec in chosen}
    deletion = _volumes_too(observed, parts, options)
    made = assemble(observed, parts, orphans, refusals, desired.templates, waits, deletion)
    begins = options.goal == "up" and bool(desired.source)  # commands' own sandboxes have no state of a project
    made = with_checkpoints(made, observed, options.checkpoint)
    return replace(made, history="begins") if begins else made


def _volumes_too(observed: ObservedState, parts: Iterable[Part], options: PlanOptions) -> Deletion:
    if options.goal != "down" or not options.volumes:
        return NOTHING
    names = {volume.id.name for volume in observed.volumes}
    return delete_volumes(observed, names, "the project is taken down", {part.id for part in parts})


def _as_needed(
    chosen: Collection[DesiredSandbox],
    found: Mapping[SandboxId, ObservedSandbox],
    part: Callable[[DesiredSandbox, bool, str], Part],
    *,
    wake: bool,
) -> list[Part]:
    """Their parts by `part(spec, wake, again)`: those are woken, or run again, that others need which begin."""
    parts = {spec.id.name: part(spec, wake, "") for spec in chosen}
    begin = [name for name in parts if any(isinstance(step.operation, BEGINS) for step in parts[name].steps)]
    awake, again = needed(chosen, begin, found)
    parts |= {spec.id.name: part(spec, True, "") for spec in chosen if spec.id.name in awake}
    parts |= {spec.id.name: part(spec, wake, again[spec.id.name]) for spec in chosen if spec.id.name in again}
    return list(parts.values())


def removal(
    found: ObservedSandbox,
    allow_destroy: bool,
    cause: str,
    protected: bool = False,
    *,
    keep: bool = False,
    checkpoints: bool = True,
) -> Part:
    """Delete one sandbox, or put it aside. `protected`: the file says so, whether that was applied or not.

    Its `checkpoints` go only where somebody deletes it by name or with all of its project.
    """
    part = Part(found.id)
    part.say("delete", cause, loses_disk=True, checkpoints=found.checkpoints if checkpoints else 0)
    if guard(part, found, protected, allow_destroy, "deleting"):
        take_down(part, found, cause, keep=keep, checkpoints=checkpoints)
    return part


def assemble(
    observed: ObservedState,
    parts: Iterable[Part],
    orphans: Iterable[SandboxId] = (),
    refusals: Iterable[Diagnostic] = (),
    templates: Iterable[DesiredTemplate] = (),
    waits: Mapping[SandboxId, tuple[Dependency, ...]] = MappingProxyType({}),
    deletion: Deletion = NOTHING,
) -> Plan:
    """One plan of many parts, with the shared steps that they need before their own, and volumes deleted after all.

    `waits`: what sandboxes depend on as they are wanted; without a word what they did when they were last applied.
    """
    parts = list(parts)
    there = {sandbox.id: sandbox for sandbox in observed.sandboxes}
    refusals = [*refusals, *deletion.refusals, *pass_on(parts, observed)]
    steps = [*ordered(_chain(part, there.get(part.id), waits) for part in parts), *deletion.steps]
    templates = tuple(templates)
    shared_changes, shared_steps, more = _shared(observed, steps, templates)
    diagnostics = in_order([*refusals, *(refusal for part in parts for refusal in part.refusals), *more])
    known_images = {template.recipe.digest: template for template in templates}
    volumes = frozenset(volume.id.name for volume in observed.volumes)
    shifted = (_shifted(part, there.get(part.id), known_images, volumes) for part in parts)
    changes = [*shared_changes, *(each for changes in shifted for each in changes)]
    changes += deletion.changes
    known = {step.key for step in (*shared_steps, *steps)}
    linked = [Step(s.key, s.operation, s.reason, tuple(key for key in s.needs if key in known)) for s in steps]
    planned = () if diagnostics else (*shared_steps, *linked)
    return Plan(
        project=observed.project,
        observation=observation_fingerprint(observed, planned),
        changes=tuple(changes),
        steps=planned,
        orphans=tuple(orphans),
        diagnostics=diagnostics,
    )


def _chain(part: Part, found: ObservedSandbox | None, waits: Mapping[SandboxId, tuple[Dependency, ...]]) -> Chain:
    applied = found.applied.spec.depends_on if found is not None and found.applied is not None else ()
    machine = found.machine if found is not None else None
    return Chain(part.id, tuple(part.steps), waits.get(part.id, applied), applied, machine)


def _shifted(
    part: Part, found: ObservedSandbox | None, templates: Mapping[str, DesiredTemplate], volumes: Collection[str]
) -> Iterable[Change]:
    """Its changes, with how it may do more or less by them, where whoever planned it has not said."""
    before = found.applied.spec if found is not None and found.applied is not None else None
    if part.refused is not None:  # people are told what they would allow
        shifts = shifts_to(part.refused, before, templates, volumes)
    else:
        shifts = planned_shifts(part.steps, before, templates, volumes)
    own = f"sandbox {part.id.name}"  # what is not its own is a volume's
    return [replace(each, shifts=each.shifts or shifts) if each.subject == own else each for each in part.changes]


def _shared(
    observed: ObservedState, steps: list[Step], templates: Iterable[DesiredTemplate]
) -> tuple[list[Change], list[Step], list[Diagnostic]]:
    """The platform and the images, each built once, where they are missing."""
    changes, shared, refusals = [], [], []
    if not observed.platform_ready and any(isinstance(step.operation, StartSandbox) for step in steps):
        changes.append(Change("platform", "build", "the kernel and the guest tools are not in the cache"))
        shared.append(Step(PLATFORM_KEY, PreparePlatform(), "every machine boots from it"))
    images: dict[str, DesiredSandbox] = {}
    for step in steps:
        if isinstance(step.operation, CreateSandbox):
            images.setdefault(step.operation.spec.image.digest, step.operation.spec)
    known = {template.recipe.digest: template for template in templates}
    for digest, spec in sorted(images.items()):
        if digest in observed.images:
            refusals += _not_as_locked(known.get(digest), observed.images[digest])
            continue
        if digest not in known:
            refusals.append(error("Unknown image", f"nothing says how the image of {spec.id} is made"))
            continue
        text = image_text(spec.image)
        cause = f"its image is not in the cache: {text}"
        made = replace(known[digest], name=spec.template)  # another template of the same recipe has the same image
        built = any(_is_of(sandbox, digest) for sandbox in observed.sandboxes)
        shifts = template_shifts(replace(made, policy=NO_POLICY) if built else None, made)
        changes.append(Change(f"template {spec.template}", "build", cause, reach=_reach(made), shifts=shifts))
        shared.append(Step(image_key(digest), BuildImage(known[digest]), f"template {spec.template}: {text}"))
    return changes, shared, refusals


def _is_of(sandbox: ObservedSandbox, digest: str) -> bool:
    """Whether it was made from this image: then that was built before, behind a policy that nobody knows any more."""
    return sandbox.applied is not None and sandbox.applied.spec.image.digest == digest


def _not_as_locked(template: DesiredTemplate | None, content: str) -> list[Diagnostic]:
    """With --frozen an image that is there must be the locked one, as one that is built must."""
    if template is None or not template.frozen or template.content in ("", content):
        return []
    detail = f"the image of the template {template.name!r} is {content}, and sandbox.lock has {template.content}"
    hint = f"sbx template build --fresh {template.name} builds it anew; sbx template lock --update takes it as it is"
    return [error("Not as locked", detail, hint=hint)]


def _reach(template: DesiredTemplate) -> tuple[str, ...]:
    """What its build takes and can reach: a Dockerfile whatever its builder can, steps in a machine what they may."""
    found: list[str] = []
    if template.recipe.origin.kind == "dockerfile":
        found.append(built_by_host(template.recipe.origin))
    files = (file for step in template.recipe.steps for file in step.files)
    found += (f"its image gets {file.source} as {file.target}" for file in files)
    if any(step.kind != "files" for step in template.recipe.steps):
        found += (f"its build {sentence}" for sentence in reach_of(template.policy))
    return tuple(found)


def _contents(desired: DesiredState, observed: ObservedState) -> dict[str, str]:
    """What is in images, by the recipe's digest: those that are built, and those that the lock tells of."""
    told = {template.recipe.digest: template.content for template in desired.templates if template.content}
    return {**told, **observed.images}


def _missing_bases(desired: DesiredState, chosen: Iterable[DesiredSandbox]) -> list[Diagnostic]:
    """Local images and saved templates that are not there: nobody can tell whether a sandbox was made from them."""
    templates = {template.name: template for template in desired.templates}
    used = {spec.template: templates[spec.template].recipe.origin for spec in chosen if spec.template in templates}
    return [_missing_base(name, used[name]) for name in sorted(used) if used[name].missing]


def _missing_base(template: str, origin: Origin) -> Diagnostic:
    if origin.kind == "saved":
        detail = f"the template {template!r} stands on `saved:{origin.reference}`, and nothing is saved under that tag"
        return error("Base not found", detail, hint=f"save a sandbox: sbx save NAME {origin.reference}")
    detail = f"the template {template!r} stands on `docker:{origin.reference}`, which this host does not have"
    hint = "build or pull it; `podman image ls` and `docker image ls` show what there is"
    return error("Base not found", detail, hint=hint)


def _orphans(desired: DesiredState, observed: ObservedState, options: PlanOptions) -> list[SandboxId]:
    wanted = {spec.id for spec in desired.sandboxes}
    return [] if options.only else sorted(sandbox.id for sandbox in observed.sandboxes if sandbox.id not in wanted)


def _other_file(desired: DesiredState, observed: ObservedState) -> list[Diagnostic]:
    """Two files with one project name would take each other's sandboxes for orphans, and each other's volumes."""
    sandboxes = {sandbox.applied.source for sandbox in observed.sandboxes if sandbox.applied is not None}
    volumes = {volume.source for volume in observed.volumes if volume.source}
    others = (sandboxes | volumes) - {desired.source} - observed.missing_sources
    rename = "give one of the two files another `name:`"
    return [
        error(
            "Project name in use",
            f"the project {desired.project!r} belongs to {other}",
            hint=rename if other in sandboxes else f"{rename}; `sbx volume rm` deletes the volumes that it left",
        )
        for other in sorted(others)
    ]
