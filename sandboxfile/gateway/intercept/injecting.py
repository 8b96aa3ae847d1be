"""What a request gets on its way to a bound place, and what of it may not come back. Pure: bytes and values in and out.

What the client sent under a name that is set is replaced wherever it occurs. Where a secret sets nothing, its
placeholder becomes the value: as a whole header that is meant for credentials, after a scheme (`Bearer`), in Basic
authorization, or as a whole parameter of the query. Anywhere else it stays what it is, worthless: servers quote what
they do not understand, and a guest that could choose the place would read the value in an error's text.
A bound place is trusted with the value: what it repeats of it in the head of its response is taken out again, what it
writes into a body is not looked at.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, unquote_to_bytes

from sandboxfile.gateway.intercept.reading import Field
from sandboxfile.model.credential import SECRET, Credential, Injection
from sandboxfile.policy.bindings import Binding

_UNTOUCHED = frozenset({b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade"})
_BASIC = re.compile(rb"(?i:(basic)) +([A-Za-z0-9+/]+={0,2})")
_FOR_CREDENTIALS = re.compile(rb"auth|token|key|secret|credential|password")  # in a header's name
_SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9_-]* +")
_SHORT = 8  # bytes; what is shorter may be a part of anything, and is not taken out
_INSTEAD = b"(secret)"

_Swaps = Sequence[tuple[str, str]]  # a placeholder, and the value that takes its place


@dataclass(frozen=True, slots=True)
class Injected:
    """`names` are those of the credentials that are in it. `values` tell which value each of them had.

    `traces` are what of them a response could repeat, each with what stands for it inside.
    """

    fields: tuple[Field, ...] = field(repr=False)
    path: bytes = field(repr=False)
    values: tuple[tuple[Credential, str], ...] = field(default=(), repr=False)
    traces: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(credential.name for credential, _ in self.values))

    def conceal(self, text: bytes) -> bytes:
        """What a server says, without what it repeats of the values."""
        return _replaced(text, self.traces)

    def conceal_in(self, fields: Iterable[Field]) -> tuple[Field, ...]:
        """The same in header fields of a response."""
        return tuple((name, value if name.lower() in _UNTOUCHED else self.conceal(value)) for name, value in fields)


def needed(bindings: Sequence[Binding], fields: Iterable[Field], path: bytes) -> tuple[Credential, ...]:
    """The credentials whose value this request needs: those that are set, and those whose placeholder is in it."""
    if not bindings:
        return ()
    fields = tuple(fields)
    found = {
        binding.credential.name: binding.credential
        for binding in bindings
        if binding.injection.name or _holds(binding.credential.placeholder, fields, path)
    }
    return tuple(found.values())


def _holds(placeholder: str, fields: Iterable[Field], path: bytes) -> bool:
    """Whether the placeholder stands where it would be swapped."""
    if not placeholder:
        return False
    query = path.partition(b"?")[2]
    swaps = [(placeholder, "")]
    swapped = {placeholder.encode(): b""}
    return _in_query(query, swaps) != query or any(
        _swapped(name.lower(), value, swapped, {}) != value for name, value in fields
    )


def inject(
    bindings: Sequence[Binding], fields: Iterable[Field], path: bytes, values: Mapping[str, str], *, http2: bool
) -> Injected:
    """The request with the values in it, which are by credentials' names. What has no value there stays as it is."""
    usable = [binding for binding in bindings if binding.credential.name in values]
    used = {each.credential.name: (each.credential, values[each.credential.name]) for each in usable}.values()
    swaps = [
        (each.credential.placeholder, values[each.credential.name])
        for each in usable
        if each.credential.placeholder and not each.injection.name
    ]
    set_ = [(each.injection, values[each.credential.name]) for each in usable if each.injection.name]
    traces = _traces(used)
    changed = _headers(tuple(fields), swaps, [each.injection for each in usable], traces)
    for injection, value in set_:
        if injection.kind == "header":
            name = injection.name.encode()
            changed = [each for each in changed if each[0].lower() != name.lower()]
            changed.append((name.lower() if http2 else name, _header(injection, value, traces)))
    path = _query(path, swaps, [(each, value) for each, value in set_ if each.kind == "query"])
    told_apart = tuple((trace, instead) for trace, instead in traces.items() if len(trace) >= _SHORT)
    return Injected(tuple(changed), path, tuple(used), told_apart)


_Traces = dict[bytes, bytes]


def _traces(used: Iterable[tuple[Credential, str]]) -> _Traces:
    """A value as a head could repeat it: as it is, and as it is in a query."""
    found: _Traces = {}
    for credential, value in used:
        found[value.encode()] = found[_quoted(value)] = credential.placeholder.encode() or _INSTEAD
    return found


def _header(injection: Injection, value: str, traces: _Traces) -> bytes:
    text = injection.value.replace(SECRET, value).encode()
    if not injection.basic:
        return text.strip(b" \t")
    coded = base64.b64encode(text)
    traces[coded] = _INSTEAD
    return b"Basic " + coded


def _headers(fields: Iterable[Field], swaps: _Swaps, injections: Iterable[Injection], traces: _Traces) -> list[Field]:
    """What the client sent, without what is dropped, and with placeholders swapped."""
    dropped = {name.lower().encode() for injection in injections for name in injection.drops}
    swapped = {old.encode(): new.encode() for old, new in swaps}
    return [
        (name, _swapped(name.lower(), value, swapped, traces)) for name, value in fields if name.lower() not in dropped
    ]


# --- placeholders ------------------------------------------------------------------------------------------------


def _swapped(name: bytes, value: bytes, swaps: Mapping[bytes, bytes], traces: _Traces) -> bytes:
    """A header's value, by its lower-case name."""
    if name in _UNTOUCHED or not swaps or not _FOR_CREDENTIALS.search(name):
        return value
    if (plain := _decoded(name, value)) is not None:
        changed = b":".join(swaps.get(part, part) for part in plain.split(b":", 1))
        if changed == plain:
            return value
        coded = base64.b64encode(changed)
        traces[coded] = _INSTEAD
        return b"Basic " + coded
    scheme = found[0] if (found := _SCHEME.match(value)) else b""
    rest = value[len(scheme) :]
    return scheme + swaps[rest] if rest in swaps else swaps.get(value, value)


def _decoded(name: bytes, value: bytes) -> bytes | None:
    """What Basic authorization says; None when this is none."""
    found = _BASIC.fullmatch(value.strip()) if name == b"authorization" else None
    try:
        return base64.b64decode(found[2], validate=True) if found else None
    except binascii.Error:
        return None


def _replaced(text: bytes, swaps: Iterable[tuple[bytes, bytes]]) -> bytes:
    """All in one pass: nothing is looked for in what was put in. The longest counts where several begin."""
    table = dict(swaps)
    if not any(old in text for old in table):
        return text
    pattern = b"|".join(re.escape(old) for old in sorted(table, key=len, reverse=True))
    return re.sub(pattern, lambda found: table[found[0]], text)


# --- the query ---------------------------------------------------------------------------------------------------


def _query(path: bytes, swaps: _Swaps, set_: Sequence[tuple[Injection, str]]) -> bytes:
    """A path with its query: placeholders swapped, parameters set; all else byte for byte as it came."""
    plain, mark, query = path.partition(b"?")
    if not path.startswith(b"/") or not (query or set_):
        return path
    query = _in_query(query, swaps)
    for injection, value in set_:
        name = injection.name.encode()
        kept = [part for part in query.split(b"&") if part and _parameter(part) != name]
        text = injection.value.replace(SECRET, value)
        kept.append(_quoted(injection.name) + b"=" + _quoted(text))
        query = b"&".join(kept)
    return plain + (b"?" if query else mark) + query


def _in_query(query: bytes, swaps: _Swaps) -> bytes:
    """Parameters whose whole value is a placeholder."""
    forms = {form: _quoted(new) for old, new in swaps for form in (old.encode(), _quoted(old))}
    if not any(form in query for form in forms):
        return query
    parts = (part.partition(b"=") for part in query.split(b"&"))
    return b"&".join(name + mark + forms.get(value, value) for name, mark, value in parts)


def _parameter(part: bytes) -> bytes:
    return unquote_to_bytes(part.partition(b"=")[0].replace(b"+", b" "))


def _quoted(text: str) -> bytes:
    return quote(text, safe="").encode()
