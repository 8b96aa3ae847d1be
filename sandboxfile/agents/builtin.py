"""The templates that come with sandboxfile, as data. A file can build upon them and cannot redefine them.

shell  small: what a shell, git and curl need. What every template stands on that names no base
base   what coding agents use: a Docker daemon of its own, git and gh, Node.js, Go, Python with uv, a C++ compiler

and one for each agent that brings its own, by the agent's name.
"""

from collections.abc import Mapping
from types import MappingProxyType

from sandboxfile.agents.reading import AGENTS, agent_template
from sandboxfile.model.spec import Packages, Template

DEFAULT_TEMPLATE = "shell"

_PLAIN = {
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
_AGENTS = {name: template for name in AGENTS if (template := agent_template(name)) is not None}
BUILTIN_TEMPLATES: Mapping[str, Template] = MappingProxyType({**_PLAIN, **_AGENTS})
