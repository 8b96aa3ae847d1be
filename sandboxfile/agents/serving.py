"""Which service a secret of a file is for: the one it is named after, else the one whose variable it has."""

from sandboxfile.agents.reading import SERVICES, find_service, service_of_variable
from sandboxfile.model.agent import Service


def service_for(secret: str, variable: str = "") -> Service | None:
    """The service of a secret with this name, and this variable where there is one."""
    if secret in SERVICES:
        return find_service(secret)
    return service_of_variable(variable) if variable else None
