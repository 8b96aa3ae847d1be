"""References between the objects of one file: do they exist, do they go round in circles. Called by `validate`."""

from collections.abc import Iterator, Mapping

from sandboxfile.diagnostics import Diagnostic, error
from sandboxfile.language.explain import did_you_mean
from sandboxfile.language.tree import Table, find, keys
from sandboxfile.model.builtin import BUILTIN_TEMPLATES
from sandboxfile.model.spec import Path, SandboxFile, Template


def check_references(file: SandboxFile, root: Table) -> Iterator[Diagnostic]:
    """Templates that are used and do not exist, that stand on themselves, or that take a built-in's name.

    Names come from `root`, the whole tree: what refers to a template with an error of its own is no second error.
    """
    known = set(BUILTIN_TEMPLATES) | set(keys(root, "templates"))
    for path, name in _uses(file):
        if name not in known:
            hint = did_you_mean(name, known) or f"the templates are {', '.join(sorted(known))}"
            yield error("Unknown template", f"There is no template `{name}`.", file.span(*path), hint)
    for name in keys(root, "templates"):
        if name in BUILTIN_TEMPLATES:
            found = find(root, ("templates", name))
            detail = f"`{name}` is built in and cannot be redefined."
            yield error(
                "Reserved name", detail, found[1] if found else None, f"give it another name, with `base: {name}`"
            )
    yield from _cycles(file)


def _uses(file: SandboxFile) -> Iterator[tuple[Path, str]]:
    if "template" in file.defaults.model_fields_set:
        yield ("defaults", "template"), file.defaults.template
    for name, sandbox in file.sandboxes.items():
        if "template" in sandbox.model_fields_set:
            yield ("sandboxes", name, "template"), sandbox.template
    for name, template in file.templates.items():
        if ":" not in template.base:
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
        if name in seen:
            return
        seen.add(name)
        name = templates[name].base
