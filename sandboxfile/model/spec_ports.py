"""The language of ports, as strict models; part of `model.spec`."""

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from sandboxfile.model.spec_policies import Port
from sandboxfile.model.strict import Strict
from sandboxfile.model.values import FORMS, MAP, TEXT, problem

LOOPBACK = "127.0.0.1"
_FORM = "the form is [ADDRESS:]HOST:GUEST, e.g. 8080:80"
_SHORT = WithJsonSchema({"type": "string", "pattern": r"^(([0-9.]+|\[[0-9A-Fa-f:.]+\]):)?[0-9]{1,5}:[0-9]{1,5}$"})
_PROTOCOL = re.compile(r"/[a-z]+\Z", re.IGNORECASE)


def _address(text: str) -> str:
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        if "%" not in bare:  # addresses of one link only: which one is not known here
            return str(ip_address(bare))
    except ValueError:
        pass
    detail = f"`{text}` is not an address of this host."
    raise problem("Invalid address", detail, "write a literal address, e.g. 127.0.0.1 or [::1]")


class PortSpec(Strict):
    """A TCP port of the sandbox that is reached on this host."""

    host: Port = Field(description="The port on this host.")
    guest: Port = Field(description="The port inside.")
    address: Annotated[str, AfterValidator(_address)] = Field(
        default=LOOPBACK, description="The address of this host to listen on; default: 127.0.0.1, this host alone."
    )


def _number(text: str, written: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= 65535):
        detail = f"`{written}`: `{text}` is not a port, which is a number from 1 to 65535."
        raise problem("Invalid port", detail, _FORM)
    return int(text)


def _short_port(text: str) -> PortSpec:
    """Read `[ADDRESS:]HOST:GUEST`; an IPv6 address in brackets."""
    if _PROTOCOL.search(text):
        detail = f"`{text}`: ports are TCP ports, and nothing says so."
        raise problem("Invalid port", detail, f"write `{text.partition('/')[0]}`; UDP does not pass")
    rest, colon, guest = text.rpartition(":")
    if not colon:
        raise problem("Invalid port", f"`{text}` is one port; two are needed.", f"write `{text}:{text}`, or {_FORM}")
    address, colon, host = rest.rpartition(":")
    if colon and ":" in address and not address.startswith("["):
        raise problem("Invalid port", f"`{text}` has too many colons.", f"an IPv6 address needs brackets; {_FORM}")
    fields: dict[str, Any] = {"host": _number(host, text), "guest": _number(guest, text)}
    if colon:
        fields["address"] = _address(address)
    return PortSpec.model_construct(_fields_set=set(fields), **fields)


def _single(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        raise problem("Invalid port", f"{value} is one port; two are needed.", f"write `{value}:{value}`, or {_FORM}")
    return value


if TYPE_CHECKING:
    AnyPort = PortSpec
else:
    AnyPort = Annotated[
        Annotated[str, AfterValidator(_short_port), _SHORT, TEXT] | Annotated[PortSpec, MAP],
        FORMS,
        BeforeValidator(_single),
    ]
