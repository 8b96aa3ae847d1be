"""The templates that come with sandboxfile, as data. A file can build upon them and cannot redefine them.

shell  small: what a shell, git and curl need. What every template stands on that names no base
base   what coding agents use: a Docker daemon of its own, git and gh, Node.js, Go, Python with uv, a C++ compiler
"""

from collections.abc import Mapping
from types import MappingProxyType

from sandboxfile.model.spec import Packages, Template

DEFAULT_TEMPLATE = "shell"

BUILTIN_TEMPLATES: Mapping[str, Template] = MappingProxyType(
    {
        DEFAULT_TEMPLATE: Template(
            base="debian:trixie",
            packages=Packages(apt=("bash", "ca-certificates", "curl", "git", "less", "mount", "procps", "sudo")),
        ),
        "base": Template(
            base=DEFAULT_TEMPLATE,
            docker=True,
            packages=Packages(
                apt=(
                    "bash-completion",
                    "build-essential",  # make, and what npm's native modules and cgo are compiled with
                    "gh",
                    "golang-go",
                    "iproute2",
                    "jq",
                    "nodejs",
                    "npm",
                    "openssh-client",
                    "python3",
                    "python3-pip",
                    "python3-venv",
                    "ripgrep",
                    "unzip",
                    "wget",
                    "xz-utils",
                ),
                pip=("uv",),  # Debian trixie does not have it
            ),
        ),
    }
)
