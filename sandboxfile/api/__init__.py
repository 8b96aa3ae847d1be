r"""Sandboxes from other people's programs and tests: what `sbx` does, as functions. Synchronous, typed, small.

    >>> from sandboxfile import apply, load, plan, render, volumes
    >>> project = load("sandbox.yaml")
    >>> print(render(plan(project)))
      + sandbox web: create (it is in the file and does not exist)
    ...
    >>> outcome = apply(project)
    >>> web = project["web"]
    >>> web.exec(["echo", "hello"]).stdout
    'hello\n'
    >>> web.exec("exit 3").returncode
    3
    >>> web.write_file("notes.txt", "remember\n")
    >>> web.read_file("notes.txt")
    b'remember\n'
    >>> web.status()
    'running'
    >>> web = web.rename("front")
    >>> web.remove()
    >>> for volume in volumes(project):
    ...     volume.remove()

All of it can be imported from `sandboxfile`, which loads this when the first name is asked for.

Nothing here asks a person anything: to call `apply` is to have said yes to the plan, as with `sbx up --yes`, and what a
person has to approve (which secret may go to which host, a file that a sandbox could have changed) raises before
anything boots, with the command that approves it. What goes wrong is a `SandboxfileError`; its hint, and the command
that failed, are in its notes. A function may be called from any thread, several at a time. Where sandboxes are kept is
what the environment says at each call, as for `sbx`.
"""

from sandboxfile.api.applying import PlanRefused, SecretsNotReady
from sandboxfile.api.executing import Completed, ExecTimeout
from sandboxfile.api.plans import apply, plan, render, rollback
from sandboxfile.api.projects import Project, load
from sandboxfile.api.sandboxes import Sandbox
from sandboxfile.api.volume import Volume, volumes
from sandboxfile.cli.project import InvalidFile
from sandboxfile.cli.traffic import Entry as NetworkRecord
from sandboxfile.cli.trusting import FilesNotTrusted
from sandboxfile.errors import BusyError, CommandError, HostError, NotFoundError, SandboxfileError, StaleError
from sandboxfile.model.events import Event, Outcome
from sandboxfile.model.plan import Plan, Shift

__all__ = [
    "BusyError",
    "CommandError",
    "Completed",
    "Event",
    "ExecTimeout",
    "FilesNotTrusted",
    "HostError",
    "InvalidFile",
    "NetworkRecord",
    "NotFoundError",
    "Outcome",
    "Plan",
    "PlanRefused",
    "Project",
    "Sandbox",
    "SandboxfileError",
    "SecretsNotReady",
    "Shift",
    "StaleError",
    "Volume",
    "apply",
    "load",
    "plan",
    "render",
    "rollback",
    "volumes",
]
