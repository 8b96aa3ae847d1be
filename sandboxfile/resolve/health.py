"""The healthcheck and the idle time of a sandbox: its own upon those of the defaults."""

from sandboxfile.model.desired import Command, Healthcheck
from sandboxfile.model.spec import SandboxFile
from sandboxfile.resolve.chains import given


def healthcheck_of(file: SandboxFile, name: str) -> Healthcheck | None:
    """How it is found out whether a sandbox does its work; `healthcheck: null` lifts that of the defaults.

    None also where there is no command: `validate` said so.
    """
    own, beneath = file.sandboxes[name], file.defaults
    if given("healthcheck", own, beneath).healthcheck is None:
        return None
    layers = [layer.healthcheck for layer in (beneath, own) if layer.healthcheck is not None]
    fields = {field: getattr(layer, field) for layer in layers for field in sorted(layer.model_fields_set)}
    command = fields.pop("command", ())
    return Healthcheck(Command(command), **fields) if command else None


def idle_stop_of(file: SandboxFile, name: str) -> float:
    """After how many seconds without anything done in it a sandbox is stopped; 0: never."""
    return given("idle_stop", file.sandboxes[name], file.defaults).idle_stop or 0.0
