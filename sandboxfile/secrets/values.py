"""What can be used as a value of a secret at all: text of one line, not empty, not long. Pure.

A value goes into a header or a query: whatever could end the line there is refused, never mended.
"""

from sandboxfile.errors import SandboxfileError

LIMIT = 64 << 10  # bytes of a value


class SecretError(SandboxfileError):
    """A value cannot be had. Says which secret and why; never a part of the value."""


def usable(value: str | bytes, what: str, hint: str | None = None) -> str:
    """The value without the newline at its end, when there is one. Raises SecretError, which calls it `what`."""
    data = _encoded(value, what, hint)
    data = data.removesuffix(b"\n").removesuffix(b"\r")
    if not data:
        raise SecretError(f"{what} is empty", hint=hint)
    if len(data) > LIMIT:
        raise SecretError(f"{what} is longer than {LIMIT >> 10} KiB", hint=hint)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise SecretError(f"{what} is not text", hint=hint) from None  # the cause has the bytes
    if any(_is_control(character) for character in text):
        said = "has more than one line" if "\n" in text else "has control characters"
        raise SecretError(f"{what} {said}", hint=hint)
    return text


def _encoded(value: str | bytes, what: str, hint: str | None) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        return value.encode()
    except UnicodeEncodeError:  # a variable's bytes that are no UTF-8 come as halves of characters
        raise SecretError(f"{what} is not text", hint=hint) from None


def _is_control(character: str) -> bool:
    return character < " " or "\x7f" <= character <= "\x9f"
