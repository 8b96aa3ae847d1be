"""Commands to a running QEMU, and what it tells of its own accord. The only door to qemu.qmp; asyncio only.

One command is under way at a time, so that a descriptor sent ahead of a command belongs to that command. Events go to
whoever listens at the moment and are kept nowhere: a guest can make any number of them.
"""

import logging
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import anyio
from qemu.qmp import ExecuteError, Message, QMPClient, QMPError

from sandboxfile.errors import MachineError
from sandboxfile.vm.machine import DISK_NODE

_PATIENCE = 30.0  # seconds for one command; a healthy QEMU answers in milliseconds
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL + 1)  # it reports what it raises as well

Event = Mapping[str, Any]  # `event`, `data`, `timestamp`: QEMU's own form


class Qmp:
    """A connection to one QEMU. Every method raises MachineError when QEMU refuses or is gone."""

    def __init__(self, client: QMPClient) -> None:
        self._client = client
        self._turn = anyio.Lock()
        self._listeners: list[Callable[[Event], None]] = []
        client.events.event_filter = self._tell  # which refuses them: the client would keep every one for ever

    async def status(self) -> str:
        """`running`, `paused`, `prelaunch`, `shutdown`, `internal-error`…: QEMU's RunState."""
        return str((await self.execute("query-status"))["status"])

    async def memory(self) -> int:
        """The guest's memory, in bytes."""
        return int((await self.execute("query-memory-size-summary"))["base-memory"])

    async def cpus(self) -> int:
        return len(await self.execute("query-cpus-fast"))

    async def disk_size(self, node: str = DISK_NODE) -> int:
        """The size of a block node as the guest sees it, in bytes."""
        for found in await self.execute("query-named-block-nodes", {"flat": True}):
            if found.get("node-name") == node:
                return int(found["image"]["virtual-size"])
        raise MachineError(f"the machine has no block node {node}")

    async def grow_disk(self, size: int, node: str = DISK_NODE) -> None:
        """Make a block node larger; the guest sees it at once, its file system grows separately."""
        await self.execute("block_resize", {"node-name": node, "size": size})

    async def devices(self) -> frozenset[str]:
        """The ids of all devices that were given one, hotplugged ones included."""
        found = await self.execute("qom-list", {"path": "/machine/peripheral"})
        return frozenset(entry["name"] for entry in found if entry["type"].startswith("child<"))

    async def resume(self) -> None:
        """Let a paused machine go on."""
        await self.execute("cont")

    async def quit(self) -> None:
        """End QEMU now, without asking the guest; its disks are flushed."""
        await self.execute("quit")

    async def execute(self, command: str, arguments: Mapping[str, object] | None = None, fd: int | None = None) -> Any:
        """Run any command. `fd` goes along with it, for `getfd` and `add-fd`; it stays open here."""
        async with self._turn:
            try:
                with anyio.fail_after(_PATIENCE):
                    if fd is not None:
                        self._client.send_fd_scm(fd)
                    return await self._client.execute(command, arguments)
            except TimeoutError as exc:
                raise MachineError(f"QEMU does not answer ({command}, {_PATIENCE:.0f} s)") from exc
            except ExecuteError as exc:
                raise MachineError(f"QEMU refuses {command}: {exc}") from exc
            except (QMPError, EOFError, OSError) as exc:
                raise MachineError(f"QEMU is gone ({command} was not answered)") from exc

    @contextmanager
    def listening(self, listener: Callable[[Event], None]) -> Iterator[None]:
        """Call `listener` with every event from now to the end of the block. It must not block."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    @classmethod
    async def connect(cls, connected: socket.socket, timeout: float) -> "Qmp":
        """Greet QEMU over a connected socket, which is ours from now on. `timeout` in seconds."""
        client = QMPClient()
        try:
            with anyio.fail_after(timeout):
                await client.connect(connected)
        except (QMPError, EOFError, OSError) as exc:  # TimeoutError is an OSError
            connected.close()
            raise MachineError("QEMU did not start") from exc
        except BaseException:
            connected.close()
            raise
        return cls(client)

    async def close(self) -> None:
        """Hang up; QEMU runs on."""
        with suppress(QMPError, EOFError, OSError):  # QEMU may have hung up first
            await self._client.disconnect()

    def _tell(self, message: Message) -> bool:
        for listener in tuple(self._listeners):
            listener(message)
        return False  # nothing is queued
