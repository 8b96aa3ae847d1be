"""The one interceptor of this process, loaded beside everything else: it costs half a second, and tunnels need none."""

import traceback
from importlib import import_module

import anyio
from anyio import to_thread

from sandboxfile.gateway.acceptor import Interceptor
from sandboxfile.gateway.overrides import Overrides
from sandboxfile.host.saying import say


class Interception:
    """Whoever asks while it is being loaded waits; when that fails, nothing is intercepted and nothing let through."""

    def __init__(self, overrides: Overrides) -> None:
        self._overrides = overrides
        self._interceptor: Interceptor | None = None
        self._tried = anyio.Event()

    async def load(self) -> None:
        """Import and make it. Never raises: what fails is in this process's own log."""
        try:
            module = await to_thread.run_sync(import_module, "sandboxfile.gateway.intercept")
            self._interceptor = module.Interceptor(self._overrides.authorities)
        except Exception:
            say(f"there is no interceptor, and what needs one is closed:\n{traceback.format_exc()}")
        self._tried.set()

    async def get(self) -> Interceptor:
        """Raises OSError when there is none."""
        await self._tried.wait()
        if self._interceptor is None:
            raise OSError("there is no interceptor")
        return self._interceptor
