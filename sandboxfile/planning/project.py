"""`plan`: all sandboxes of a project, the images and the platform that they need, orphans, refusals."""

from collections.abc import Iterable

from sandboxfile.diagnostics import Diagnostic, error, in_order
from sandboxfile.model.desired import DesiredSandbox, DesiredState
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
from sandboxfile.model.template import DesiredTemplate, Origin
from sandboxfile.names import SandboxId
from sandboxfile.planning.changes import image_text, reach_of
from sandboxfile.planning.sandbox import PLATFORM_KEY, Part, converge, guard, image_key, take_down
from sandboxfile.planning.snapshot import observation_fingerprint


def plan(desired: DesiredState, observed: ObservedState, options: PlanOptions) -> Plan:
    """What makes `observed` as `desired`; with refusals there are no steps. For goal `down`: what removes it all."""
    refusals = [*_unknown_names(desired, options), *_other_file(desired, observed)]
    found = {sandbox.id: sandbox for sandbox in sorted(observed.sandboxes, key=lambda sandbox: sandbox.id)}
    wanted = sorted(desired.sandboxes, key=lambda spec: spec.id)
    chosen = [spec for spec in wanted if not options.only or spec.id.name in options.only]
    again = set(options.replace)
    orphans = _orphans(desired, observed, options)
    parts: list[Part] = []
    if options.goal == "down":
        kept = {spec.id for spec in wanted if spec.protect}
        gone = [sandbox for id, sandbox in found.items() if not options.only or id.name in options.only]
        parts += [removal(s, options.allow_destroy, "the project is taken down", s.id in kept) for s in gone]
        orphans = []
    else:
        contents = _contents(desired, observed)
        refusals += _missing_bases(desired, chosen)
        parts += [
            converge(
                s,
                desired.source,
                found.get(s.id),
                options.allow_destroy,
                contents.get(s.image.digest, ""),
                anew=s.id.name in again,
            )
            for s in chosen
        ]
        if options.remove_orphans:
            parts += [removal(found[id], options.allow_destroy, "it is no longer in the file") for id in orphans]
            orphans = []
    return assemble(observed, parts, orphans, refusals, desired.templates)


def removal(found: ObservedSandbox, allow_destroy: bool, cause: str, protected: bool = False) -> Part:
    """Delete one sandbox. `protected`: the file says so, whether that was applied or not."""
    part = Part(found.id)
    part.say("delete", cause, loses_disk=True)
    if guard(part, found, protected, allow_destroy, "deleting"):
        take_down(part, found, cause)
    return part


def assemble(
    observed: ObservedState,
    parts: Iterable[Part],
    orphans: Iterable[SandboxId] = (),
    refusals: Iterable[Diagnostic] = (),
    templates: Iterable[DesiredTemplate] = (),
) -> Plan:
    """One plan of many parts, with the shared steps that they need before their own."""
    parts = list(parts)
    steps = [step for part in parts for step in part.steps]
    shared_changes, shared_steps, more = _shared(observed, steps, templates)
    diagnostics = in_order([*refusals, *(refusal for part in parts for refusal in part.refusals), *more])
    changes = [*shared_changes, *(change for part in parts for change in part.changes)]
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
        changes.append(Change(f"template {spec.template}", "build", cause, reach=_reach(known[digest])))
        shared.append(Step(image_key(digest), BuildImage(known[digest]), f"template {spec.template}: {text}"))
    return changes, shared, refusals


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
        found.append("its Dockerfile is built by this host's own builder, behind no policy of sbx")
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


def _unknown_names(desired: DesiredState, options: PlanOptions) -> list[Diagnostic]:
    known = {spec.id.name for spec in desired.sandboxes}
    listed = ", ".join(sorted(known)) or "none"
    return [
        error("Unknown sandbox", f"the file has no sandbox {name!r}", hint=f"it has: {listed}")
        for name in dict.fromkeys((*options.only, *options.replace))
        if name not in known
    ]


def _other_file(desired: DesiredState, observed: ObservedState) -> list[Diagnostic]:
    """Two files with one project name would take each other's sandboxes for orphans."""
    others = {
        sandbox.applied.source
        for sandbox in observed.sandboxes
        if sandbox.applied is not None and sandbox.applied.source != desired.source
    }
    return [
        error(
            "Project name in use",
            f"the project {desired.project!r} belongs to {other}",
            hint="give one of the two files another `name:`",
        )
        for other in sorted(others - observed.missing_sources)
    ]
