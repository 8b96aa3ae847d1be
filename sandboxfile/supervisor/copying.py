"""A copy of a running sandbox's disk, as it is at one moment: the machine stands still meanwhile. asyncio only.

QEMU writes out all it has when it stops a machine, and the guest is asked to before. Nothing of this is a pause that
anybody asked for: it is told to nobody, and nobody else can end it (`Copying.turn`). Dies the supervisor, so does the
machine, and half a copy is swept by the next.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

from sandboxfile.errors import GuestError, MachineError
from sandboxfile.host import checkpoints
from sandboxfile.vm.qmp import Qmp

if TYPE_CHECKING:
    from sandboxfile.supervisor.sandbox import Sandbox

_SYNC = ("/run/sbx/bin/sync", "-f", "/")  # only the disk: a full one would wait for a dead file server
_SYNC_TIMEOUT = 60.0  # seconds; what is not written by then is as after a loss of power


class Copying:
    """Whether a copy is made. Who holds `turn` keeps the machine from being stopped or resumed by others."""

    def __init__(self) -> None:
        self.turn = anyio.Lock()
        self.holds = False  # the machine stands still for us
        self.begun = 0  # how often it has
        self._went_on = False

    def notice(self, *, paused: bool) -> bool:
        """Whether a pause or its end, told by QEMU, is our own doing."""
        if self.holds and not paused:
            self._went_on = True
        return self.holds

    def undisturbed(self) -> bool:
        return not self._went_on

    @asynccontextmanager
    async def standstill(self, qmp: Qmp) -> AsyncIterator[None]:
        """The machine stands still during the block; one that was paused before stays so."""
        running = await qmp.status() == "running"
        self.holds, self._went_on = True, False
        self.begun += 1
        try:
            await qmp.execute("stop")
            yield
        finally:
            if running:
                with anyio.CancelScope(shield=True), suppress(MachineError):  # QEMU may be gone
                    await qmp.resume()
            self.holds = False


async def copy_disk(sandbox: "Sandbox", label: str) -> None:
    """Make the checkpoint `label`. Raises HostError, MachineError or BusyError, and leaves nothing."""
    guest = await sandbox.guest()
    async with sandbox.copying.turn:
        machine = await sandbox.machine()
        with suppress(GuestError):
            await guest.run(_SYNC, timeout=_SYNC_TIMEOUT)
        async with sandbox.copying.standstill(machine.qmp):
            make = partial(checkpoints.make_checkpoint, sandbox.paths, label, sandbox.copying.undisturbed)
            await to_thread.run_sync(make)
