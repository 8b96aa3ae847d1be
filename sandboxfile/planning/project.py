"""`plan`: all sandboxes of a project, the images and the platform that they need, orphans, refusals."""

from collections.abc import Iterable

from sandboxfile.diagnostics import Diagnostic, error, in_order
from sandboxfile.model.desired import DesiredState, ImageSpec
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
from sandboxfile.names import SandboxId
from sandboxfile.planning.changes import image_text
from sandboxfile.planning.sandbox import PLATFORM_KEY, Part, converge, guard, image_key, take_down
from sandboxfile.planning.snapshot import observation_fingerprint


def plan(desired: DesiredState, observed: ObservedState, options: PlanOptions) -> Plan:
    """What makes `observed` as `desired`; with refusals there are no steps. For goal `down`: what removes it all."""
    refusals = [*_unknown_names(desired, options), *_other_file(desired, observed)]
    found = {sandbox.id: sandbox for sandbox in sorted(observed.sandboxes, key=lambda sandbox: sandbox.id)}
    wanted = sorted(desired.sandboxes, key=lambda spec: spec.id)
    chosen = [spec for spec in wanted if not options.only or spec.id.name in options.only]
    orphans = _orphans(desired, observed, options)
    parts: list[Part] = []
    if options.goal == "down":
        kept = {spec.id for spec in wanted if spec.protect}
        gone = [sandbox for id, sandbox in found.items() if not options.only or id.name in options.only]
        parts += [removal(s, options.allow_destroy, "the project is taken down", s.id in kept) for s in gone]
        orphans = []
    else:
        parts += [converge(s, desired.source, found.get(s.id), options.allow_destroy) for s in chosen]
        if options.remove_orphans:
            parts += [removal(found[id], options.allow_destroy, "it is no longer in the file") for id in orphans]
            orphans = []
    return assemble(observed, parts, orphans, refusals)


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
) -> Plan:
    """One plan of many parts, with the shared steps that they need before their own."""
    parts = list(parts)
    diagnostics = in_order([*refusals, *(refusal for part in parts for refusal in part.refusals)])
    steps = [step for part in parts for step in part.steps]
    shared_changes, shared_steps = _shared(observed, steps)
    changes = [*shared_changes, *(change for part in parts for change in part.changes)]
    known = {step.key for step in (*shared_steps, *steps)}
    linked = [Step(s.key, s.operation, s.reason, tuple(key for key in s.needs if key in known)) for s in steps]
    return Plan(
        project=observed.project,
        observation=observation_fingerprint(observed),
        changes=tuple(changes),
        steps=() if diagnostics else (*shared_steps, *linked),
        orphans=tuple(orphans),
        diagnostics=diagnostics,
    )


def _shared(observed: ObservedState, steps: list[Step]) -> tuple[list[Change], list[Step]]:
    """The platform and the images, each built once, where they are missing."""
    changes, shared = [], []
    if not observed.platform_ready and any(isinstance(step.operation, StartSandbox) for step in steps):
        changes.append(Change("platform", "build", "the kernel and the guest tools are not in the cache"))
        shared.append(Step(PLATFORM_KEY, PreparePlatform(), "every machine boots from it"))
    images: dict[str, tuple[str, ImageSpec]] = {}
    for step in steps:
        if isinstance(step.operation, CreateSandbox):
            spec = step.operation.spec
            images.setdefault(spec.image.digest, (spec.template, spec.image))
    for digest, (template, image) in sorted(images.items()):
        if digest not in observed.images:
            cause = f"its image is not in the cache: {image_text(image)}"
            changes.append(Change(f"template {template}", "build", cause))
            shared.append(Step(image_key(digest), BuildImage(image), f"template {template}: {image_text(image)}"))
    return changes, shared


def _orphans(desired: DesiredState, observed: ObservedState, options: PlanOptions) -> list[SandboxId]:
    wanted = {spec.id for spec in desired.sandboxes}
    return [] if options.only else sorted(sandbox.id for sandbox in observed.sandboxes if sandbox.id not in wanted)


def _unknown_names(desired: DesiredState, options: PlanOptions) -> list[Diagnostic]:
    known = {spec.id.name for spec in desired.sandboxes}
    listed = ", ".join(sorted(known)) or "none"
    return [
        error("Unknown sandbox", f"the file has no sandbox {name!r}", hint=f"it has: {listed}")
        for name in options.only
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
