"""References between the objects of one file: do they exist, do they go round in circles. Called by `validate`."""

from collections.abc import Collection, Iterator, Mapping

from sandboxfile.agents.builtin import BUILTIN_TEMPLATES
from sandboxfile.diagnostics import Diagnostic, error
from sandboxfile.language.explain import did_you_mean
from sandboxfile.language.tree import Table, find, keys
from sandboxfile.model.references import parse_image_reference
from sandboxfile.model.spec import Path, SandboxFile, Template


def check_references(file: SandboxFile, root: Table) -> Iterator[Diagnostic]:
    """Templates that do not exist, that stand on themselves, take a built-in's name, or say something twice.

    Names come from `root`, the whole tree: what refers to a template with an error of its own is no second error.
    """
    known = set(BUILTIN_TEMPLATES) | set(keys(root, "templates"))
    for path, name in _uses(file):
        if name not in known:
            yield error(
                "Unknown template", f"There is no template `{name}`.", file.span(*path), _hint(path, name, known)
            )
    for name in keys(root, "templates"):
        if name in BUILTIN_TEMPLATES:
            found = find(root, ("templates", name))
            detail = f"`{name}` is built in and cannot be redefined."
            yield error(
                "Reserved name", detail, found[1] if found else None, f"give it another name, with `base: {name}`"
            )
    yield from _cycles(file)
    for name, template in file.templates.items():
        yield from _clashes(file, name, template)


def _hint(path: Path, name: str, known: Collection[str]) -> str:
    if close := did_you_mean(name, known):
        return close
    listed = f"the templates are {', '.join(sorted(known))}"
    reference = parse_image_reference(name) if path[-1] == "base" else None
    return f"{listed}; an image of a registry is `oci:{name}`" if reference else listed


def _clashes(file: SandboxFile, name: str, template: Template) -> Iterator[Diagnostic]:
    """What one template says twice."""
    if template.build is not None and "base" in template.model_fields_set:
        detail = "An image that a Dockerfile makes stands on what its FROM says, and on no other base."
        yield error("Base and build", detail, file.span("templates", name, "base"), "remove one of the two")
    targets: set[str] = set()
    for index, item in enumerate(template.files):
        span = file.span("templates", name, "files", index, "target")
        hint = "give one of them another target"
        if item.target in targets:
            yield error("Duplicate target", f"Two files have the target `{item.target}`.", span, hint)
        elif above := next((parent for parent in _parents(item.target) if parent in targets), None):
            yield error("Nested targets", f"`{above}` is a file as well: nothing can lie in it.", span, hint)
        targets.add(item.target)


def _parents(path: str) -> Iterator[str]:
    while (path := path.rpartition("/")[0]) != "":
        yield path


def _uses(file: SandboxFile) -> Iterator[tuple[Path, str]]:
    if "template" in file.defaults.model_fields_set:
        yield ("defaults", "template"), file.defaults.template
    for name, sandbox in file.sandboxes.items():
        if "template" in sandbox.model_fields_set:
            yield ("sandboxes", name, "template"), sandbox.template
    for name, template in file.templates.items():
        if ":" not in template.base and template.build is None:
            yield ("templates", name, "base"), template.base


def _cycles(file: SandboxFile) -> Iterator[Diagnostic]:
    reported: set[str] = set()
    for start in file.templates:
        seen = list(_chain(file.templates, start))
        if len(seen) > 1 and seen[-1] == start and start not in reported:
            reported.update(seen)
            shown = " -> ".join(f"`{name}`" for name in seen)
            detail = f"A template cannot stand on itself: {shown}."
            yield error(
                "Template cycle", detail, file.span("templates", start, "base"), "give one of them `base: debian:SUITE`"
            )


def _chain(templates: Mapping[str, Template], start: str) -> Iterator[str]:
    """A template, its base, the base of that, until one that is no template of the file, or that was there before."""
    seen: set[str] = set()
    name = start
    while name in templates and name not in BUILTIN_TEMPLATES:
        yield name
        if name in seen or templates[name].build is not None:
            return
        seen.add(name)
        name = templates[name].base
