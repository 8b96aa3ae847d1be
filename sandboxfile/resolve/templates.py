"""A template's chain of bases to one image, one environment and one user."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sandboxfile.model.builtin import BUILTIN_TEMPLATES
from sandboxfile.model.desired import ImageSpec
from sandboxfile.model.fingerprint import fingerprint
from sandboxfile.model.spec import SandboxFile, Template

# Part of every image's digest: raise it when the same inputs would be built into something else.
IMAGE_FORMAT = 1


@dataclass(frozen=True, slots=True)
class ResolvedTemplate:
    """`env` is in order of precedence, the outermost template last; None stands for the environment of sbx."""

    image: ImageSpec
    env: Mapping[str, str | None]
    user: str


def resolve_template(file: SandboxFile, name: str) -> ResolvedTemplate | None:
    """What a template comes to; None when a name in its chain is unknown or comes twice (`validate` said so)."""
    chain: list[Template] = []
    seen: set[str] = set()
    while ":" not in name:
        template = BUILTIN_TEMPLATES.get(name) or file.templates.get(name)
        if template is None or name in seen:
            return None
        seen.add(name)
        chain.insert(0, template)
        name = template.base
    env: dict[str, str | None] = {}
    user = "agent"
    for template in chain:
        env.update(template.env)
        user = template.user if "user" in template.model_fields_set else user
    return ResolvedTemplate(image_spec(name, (p for template in chain for p in template.packages.apt)), env, user)


def image_spec(base: str, packages: Iterable[str]) -> ImageSpec:
    """The image of these inputs, named by their content."""
    wanted = tuple(sorted(set(packages)))
    return ImageSpec(base, wanted, fingerprint((IMAGE_FORMAT, base, wanted)))
