"""Every message between a supervisor and the gateway. Data only; lines and descriptors as `wire` carries them.

A supervisor keeps one connection open for as long as its sandbox runs: its end is the end of the registration, and
then nothing of that sandbox gets out. It speaks first, and waits for each answer: `Register`, then `Listen` for each
listening socket, then `Provide` and `SetPolicy` whenever there is
something new. A message that fails changes nothing.
"""

from dataclasses import dataclass, field
from typing import Literal

from sandboxfile.control.codec import Codec
from sandboxfile.model.policy import Policy

VERSION = 2
PROXY_PORT = 3128  # of the explicit proxy, in the sandbox's network
# `proxy`: the explicit proxy. `transparent`: any port that is dialled by address. `names`: DNS, a UDP socket.
Role = Literal["proxy", "transparent", "names"]


@dataclass(frozen=True, slots=True)
class Register:
    """Serve a sandbox. Answered by `Confirmed`.

    `sandbox` is `PROJECT/NAME`. `certificate` and `key` are PEM texts of its own certificate authority. `log` is the
    absolute path of its network log. `proxies` are the host's own proxy settings for the way out (https_proxy,
    http_proxy, no_proxy by lower-case name), those set.
    """

    sandbox: str
    policy: Policy
    certificate: str
    key: str
    log: str
    proxies: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Listen:
    """Accept on the one socket that comes with this message. Answered by `Accepted`."""

    role: Role
    port: int


@dataclass(frozen=True, slots=True)
class SetPolicy:
    """Go by another policy from now on; what it no longer allows is cut. Answered by `Confirmed` once that is so."""

    policy: Policy


@dataclass(frozen=True, slots=True)
class Provide:
    """Values of credentials that come from an environment, by the credential's name; the gateway keeps them in memory.

    On top of those given before on this connection. Answered by `Accepted`.
    """

    values: tuple[tuple[str, str], ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Confirmed:
    """`fingerprint` is that of the policy which is in force now."""

    fingerprint: str


@dataclass(frozen=True, slots=True)
class Accepted:
    pass


@dataclass(frozen=True, slots=True)
class Refused:
    """What was asked was not done, and nothing changed."""

    message: str


Message = Register | Listen | SetPolicy | Provide | Confirmed | Accepted | Refused
_CODEC = Codec(VERSION, Message.__args__, "stop the sandboxes of the other version of sbx: its gateway ends with them")


def encode(message: Message) -> bytes:
    """One line, with its newline."""
    return _CODEC.encode(message)


def decode(line: bytes) -> Message:
    """The message of one line. Raises ControlError for anything that this version does not know."""
    message: Message = _CODEC.decode(line)
    return message
