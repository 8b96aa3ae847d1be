"""Values of the credentials of one sandbox: those it was given, and those that sources of this host have.

A value that was given counts for the source it was given for: when a policy names another one under the same name, it
is forgotten. Nothing here is written anywhere, and no exception's text holds a value.
"""

import traceback
from collections.abc import Iterable

from anyio import CapacityLimiter, to_thread

from sandboxfile.errors import SandboxfileError
from sandboxfile.gateway.sources import Sources
from sandboxfile.host.saying import say
from sandboxfile.model.credential import Credential, still_meant
from sandboxfile.secrets.values import SecretError, usable

_READINGS = 4  # at the same time, of one sandbox
_SHOWN = 300  # characters of a reason


class Unavailable(Exception):
    """There is no value now; the text says why, as a clause."""


class Values:
    """Of one sandbox; its credentials are those of `adopt`, called first."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._given: dict[str, str] = {}
        self._credentials: dict[str, Credential] = {}
        self._limiter = CapacityLimiter(_READINGS)

    def adopt(self, credentials: Iterable[Credential]) -> None:
        """These are the credentials from now on."""
        before, self._credentials = self._credentials, {each.name: each for each in credentials}
        meant = still_meant(self._given, before.values(), self._credentials.values())
        self._given = {name: value for name, value in self._given.items() if name in meant}

    def give(self, values: Iterable[tuple[str, str]]) -> None:
        """Use these, by credentials' names; others that were given stay."""
        self._given.update(values)

    def forget(self) -> None:
        self._given.clear()
        self._credentials.clear()

    async def get(self, credential: Credential) -> str:
        """The value, which fits into a header. Raises Unavailable; waits as long as a command takes."""
        try:
            return await self._get(credential)
        except SandboxfileError as exc:
            raise Unavailable(_clause(exc.message)) from None
        except Exception as exc:  # its text, and that of what caused it, may hold anything
            say(f"reading a secret: {type(exc).__name__}\n{''.join(traceback.format_tb(exc.__traceback__))}")
            raise Unavailable("reading it failed: this is a bug in sandboxfile") from None

    async def _get(self, credential: Credential) -> str:
        source = credential.source
        if source.kind == "env":
            value = self._given.get(credential.name)
            if value is None:
                raise SecretError(f"the variable {source.name} was not set where sbx ran last")
        else:
            value = self._sources.at_hand(source)
            if value is None:
                value = await to_thread.run_sync(
                    self._sources.get, source, limiter=self._limiter, abandon_on_cancel=True
                )
        return usable(value, "its value")

    def refused(self, credential: Credential, value: str) -> None:
        """A server did not take this value."""
        if credential.source.kind != "env":
            self._sources.refused(credential.source, value)


def _clause(text: str) -> str:
    line = text.partition("\n")[0].rstrip(".")
    return "".join(char if char.isprintable() else "?" for char in line[:_SHOWN])
