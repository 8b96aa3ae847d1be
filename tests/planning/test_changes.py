"""Which fields of one sandbox differ, in words."""

from dataclasses import replace

import pytest

from sandboxfile.model.desired import DesiredSandbox, Image, Workspace
from sandboxfile.model.observed import Applied
from sandboxfile.names import SandboxId
from sandboxfile.planning.changes import field_changes

USUAL = (".git/config", ".git/hooks", "sandbox.lock", "sandbox.yaml")
RW, RO = Workspace("/s", "/s", "rw", USUAL), Workspace("/s", "/s", "ro")
SPEC = DesiredSandbox(SandboxId("shop", "web"), "shell", Image("d"))


@pytest.mark.parametrize(
    ("old", "new", "texts"),
    [
        (None, RW, (None, "rw")),
        (RO, RW, ("ro", "rw")),
        (RW, replace(RW, protect=(*USUAL, "keys")), ("rw", "rw protecting keys")),
        (RW, replace(RW, protect=USUAL[1:]), ("rw protecting .git/config", "rw")),
        (RW, replace(RW, protect=USUAL[:2]), ("rw protecting sandbox.lock, sandbox.yaml", "rw")),
        (RW, replace(RW, source="/t"), ("rw", "rw from /t")),
    ],
)
def test_of_what_a_workspace_protects_only_what_is_unusual_or_differs_is_told(old, new, texts):
    was, now = (replace(SPEC, workspaces=(each,) if each else ()) for each in (old, new))
    [change] = field_changes(now, Applied(was, "/f", "2026-01-01T00:00:00Z", 0), None)
    assert (change.path, change.before, change.after) == ("workspaces./s", *texts)
