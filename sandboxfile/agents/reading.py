"""The data files of this package, each read when it is first asked for. A malformed one is our bug: tests read all."""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from pydantic import TypeAdapter

from sandboxfile.model.agent import Agent, Service
from sandboxfile.model.spec import Template

AGENTS = ("claude", "codex", "copilot", "docker-agent", "gemini", "kiro", "opencode", "shell")
SERVICES = ("anthropic", "github", "google", "groq", "mistral", "openai", "openrouter", "xai")


def find_agent(name: str) -> Agent:
    """One of AGENTS. Raises KeyError for any other name."""
    if name not in AGENTS:
        raise KeyError(name)
    return _agent(name)


def find_service(name: str) -> Service:
    """One of SERVICES. Raises KeyError for any other name."""
    if name not in SERVICES:
        raise KeyError(name)
    return _service(name)


def service_of_variable(variable: str) -> Service | None:
    """Whose credential is usually kept in this variable of the host."""
    return next((service for service in map(find_service, SERVICES) if variable in service.variables), None)


def agent_template(name: str) -> Template | None:
    """The template that an agent brings; None for one that takes an existing one."""
    table = _table(f"{name}.toml").get("template")
    return None if table is None else Template.model_validate(_frozen(table))


@cache
def _agent(name: str) -> Agent:
    fields = {key: value for key, value in _table(f"{name}.toml").items() if key != "template"}
    environment = tuple(sorted(fields.pop("environment", {}).items()))
    return _agents().validate_python({**_frozen(fields), "name": name, "environment": environment})


@cache
def _service(name: str) -> Service:
    fields = _frozen(_table(f"services/{name}.toml"))
    return _services().validate_python({**fields, "name": name})


@cache
def _agents() -> TypeAdapter[Agent]:
    return TypeAdapter(Agent)


@cache
def _services() -> TypeAdapter[Service]:
    return TypeAdapter(Service)


def _table(path: str) -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath(path).read_text("utf-8"))


def _frozen(value: Any) -> Any:
    """Lists as tuples, as strict models want them."""
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
