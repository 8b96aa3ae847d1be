"""The templates that come with sandboxfile, as data. A file can build upon them and cannot redefine them."""

from collections.abc import Mapping
from types import MappingProxyType

from sandboxfile.model.spec import Packages, Template

DEFAULT_TEMPLATE = "shell"

BUILTIN_TEMPLATES: Mapping[str, Template] = MappingProxyType(
    {
        DEFAULT_TEMPLATE: Template(
            base="debian:trixie",
            packages=Packages(apt=("bash", "ca-certificates", "curl", "git", "less", "mount", "procps", "sudo")),
        )
    }
)
