"""A template's chain of bases, and what its levels need besides what they say. Pure, and without facts of the host."""

from collections.abc import Mapping
from dataclasses import dataclass

from sandboxfile.agents.builtin import BUILTIN_TEMPLATES, DEFAULT_TEMPLATE
from sandboxfile.model.packages import Manager
from sandboxfile.model.spec import Sandbox, SandboxFile, Template

MANAGERS: tuple[Manager, ...] = ("apt", "npm", "pip")
# What `docker: true` installs: daemon, command line, Buildx, Compose. Suites differ in how they are cut into packages.
_DOCKER: Mapping[str, tuple[str, ...]] = {
    "debian": ("docker.io", "docker-cli", "docker-buildx", "docker-compose", "iptables"),
    "ubuntu": ("docker.io", "docker-buildx", "docker-compose-v2", "iptables"),
}
_DOCKER_BEFORE_TRIXIE = ("docker.io", "docker-compose", "iptables")
_BEFORE_TRIXIE = ("debian:bullseye", "debian:bookworm", "debian:oldstable", "debian:oldoldstable")
_CLIENTS: Mapping[str, tuple[str, ...]] = {
    "npm": ("nodejs", "npm"),
    "pip": ("python3", "python3-pip", "python3-venv"),
}


@dataclass(frozen=True, slots=True)
class Chain:
    """`levels` are templates by name, the one that all others stand on first; `base` is what that one stands on.

    `base` is as in the file (`debian:trixie`, `oci:...`), and empty where the first level has a `build`.
    """

    levels: tuple[tuple[str, Template], ...]
    base: str

    @property
    def distribution(self) -> str:
        """`debian` or `ubuntu` where mmdebstrap makes the root, else nothing."""
        kind = self.base.partition(":")[0]
        return kind if kind in _DOCKER else ""

    @property
    def docker(self) -> bool:
        """Whether some level asks for a private Docker daemon."""
        return any(template.docker for _, template in self.levels)

    def apt(self, index: int) -> tuple[str, ...]:
        """The Debian packages of a level: its own, and what else it asks for comes from, where that is known."""
        template = self.levels[index][1]
        wanted = list(template.packages.apt)
        if self.distribution:
            if template.docker:
                wanted += _DOCKER_BEFORE_TRIXIE if self.base in _BEFORE_TRIXIE else _DOCKER[self.distribution]
            wanted += _CLIENTS["npm"] if template.packages.npm else ()
            wanted += _CLIENTS["pip"] if template.packages.pip else ()
        return tuple(dict.fromkeys(wanted))


def chain_of(file: SandboxFile, name: str) -> Chain | None:
    """The chain of a template; None when a name in it is unknown or comes twice (`validate` said so)."""
    levels: list[tuple[str, Template]] = []
    seen: set[str] = set()
    while ":" not in name:
        template = BUILTIN_TEMPLATES.get(name) or file.templates.get(name)
        if template is None or name in seen:
            return None
        seen.add(name)
        levels.insert(0, (name, template))
        if template.build is not None:
            return Chain(tuple(levels), "")
        name = template.base
    return Chain(tuple(levels), name)


def given(field: str, own: Sandbox, beneath: Sandbox) -> Sandbox:
    """Whose value of a field counts: the sandbox's when it gives one, else the defaults'."""
    return own if field in own.model_fields_set else beneath


def template_of(own: Sandbox, beneath: Sandbox) -> str:
    """The name of a sandbox's template: the one that is given, else the one that its agent brings."""
    name, agent = given("template", own, beneath).template, given("agent", own, beneath).agent
    return name or (agent if agent in BUILTIN_TEMPLATES else DEFAULT_TEMPLATE)


def managers_of(chain: Chain) -> frozenset[Manager]:
    """The package managers that may run inside while it is built, and so need their registries."""
    found: set[Manager] = set()
    for index, (_, template) in enumerate(chain.levels):
        packages = template.packages
        if chain.apt(index) and (not chain.distribution or index):
            found.add("apt")
        found.update(manager for manager in MANAGERS[1:] if getattr(packages, manager))
    return frozenset(found)
