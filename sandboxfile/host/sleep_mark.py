"""The mark of a sandbox that is stopped because nothing was done in it. Its supervisor alone makes and removes it.

Made when nothing can begin in the sandbox any more, and removed before its machine boots: so one that was killed while
it was awake, at whatever moment, is never taken for one that sleeps.
"""

from sandboxfile.host.durable import sync_directory, write_atomic
from sandboxfile.host.layout import SandboxPaths


def mark_asleep(paths: SandboxPaths) -> None:
    """Durable when it returns. Raises OSError."""
    write_atomic(paths.asleep, b"")


def mark_awake(paths: SandboxPaths) -> None:
    """The same."""
    if paths.asleep.exists():
        paths.asleep.unlink()
        sync_directory(paths.root)
