"""The templates that come with sandboxfile, as data. A file can build upon them and cannot redefine them.

shell  small: what a shell, git and curl need. What every template stands on that names no base
base   what coding agents use: a Docker daemon of its own, git and gh, Node.js, Go, Python with uv, a C++ compiler

and one for each agent that brings its own, by the agent's name.
"""

from collections.abc import Iterator, Mapping
from functools import cache

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
_NAMES = tuple(dict.fromkeys((*_PLAIN, *AGENTS)))  # an agent brings its own, or there is a plain one of its name


class _Builtin(Mapping[str, Template]):
    """All of them by name. An agent's is read when it is first asked for: few are in one run, their names often."""

    def __getitem__(self, name: str) -> Template:
        return _template(name)

    def __contains__(self, name: object) -> bool:
        return name in _NAMES

    def __iter__(self) -> Iterator[str]:
        return iter(_NAMES)

    def __len__(self) -> int:
        return len(_NAMES)


@cache
def _template(name: str) -> Template:
    template = _PLAIN.get(name) or (agent_template(name) if name in AGENTS else None)
    if template is None:
        raise KeyError(name)
    return template


BUILTIN_TEMPLATES: Mapping[str, Template] = _Builtin()
