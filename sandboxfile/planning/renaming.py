"""What another name of a sandbox changes in others. Pure."""

from dataclasses import replace

from sandboxfile.model.desired import DesiredSandbox


def waits_renamed(spec: DesiredSandbox, old: str, new: str) -> DesiredSandbox:
    """The same, waiting for `new` where it waited for `old`; in order, as those of a file are."""
    if not any(each.name == old for each in spec.depends_on):
        return spec
    waits = (replace(each, name=new) if each.name == old else each for each in spec.depends_on)
    return replace(spec, depends_on=tuple(sorted(waits)))
