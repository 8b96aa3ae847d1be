"""What other programs' files say, as a sandbox.yaml: text in, text out. Reads and writes no file, runs nothing.

draft         what is to be written, part by part, each with its place in the source; and what is left behind
writing       a draft to text, which is loaded back: what the language refuses is left behind too, and told
reading       values of a source, and JSON with comments
proxy_config  `proxy-config.json` of Docker Sandboxes: a network policy
commands      lines of `docker sandbox run|create|network proxy`, as a shell reads them (`shell_words`)
environment   Docker's sandbox environment file, `schemaVersion: "1"`
compose       services of a Compose file (`compose_values`)
devcontainer  devcontainer.json (`devcontainer_values`)

Nothing opens unseen: what the source leaves open to everybody (a container's network, ports on every address) is not
taken over as if it had been asked for; what cannot be carried is told with its place, and a restriction that cannot be
carried is an error, never a file without it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from posixpath import basename

from sandboxfile.importing import commands, compose, devcontainer, environment, proxy_config
from sandboxfile.importing.draft import Draft as Draft
from sandboxfile.importing.draft import Imported as Imported
from sandboxfile.importing.draft import Note as Note
from sandboxfile.importing.draft import Source as Source
from sandboxfile.importing.reading import read
from sandboxfile.importing.writing import finish
from sandboxfile.language.tree import Table


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of source: what it is called in the file that is written, and who reads it."""

    title: str
    importer: Callable[[Source, Draft], None]


KINDS: Mapping[str, Kind] = {
    "proxy-config": Kind("a network policy of Docker Sandboxes", proxy_config.draft),
    "commands": Kind("commands of `docker sandbox`", commands.draft),
    "sbxenv": Kind("a sandbox environment file of Docker", environment.draft),
    "compose": Kind("a Compose file", compose.draft),
    "devcontainer": Kind("settings of a development container", devcontainer.draft),
}
_NAMES = {
    "proxy-config.json": "proxy-config",
    "devcontainer.json": "devcontainer",
    ".devcontainer.json": "devcontainer",
}
_KEYS = (
    ("schemaVersion", "sbxenv"),
    ("services", "compose"),
    ("network", "proxy-config"),
    ("policy", "proxy-config"),
    *((key, "devcontainer") for key in ("image", "build", "dockerFile", "features", "dockerComposeFile")),
)


def convert(kind: str, source: Source) -> Imported:
    """A sandbox.yaml made of a source of one of KINDS. Never raises, whatever the text."""
    draft = Draft()
    KINDS[kind].importer(source, draft)
    return finish(draft, f"{basename(source.filename)}, {KINDS[kind].title}")


def detect(source: Source) -> str | None:
    """Which of KINDS a source is of: by its name, else by what stands at its top."""
    name = basename(source.filename)
    if name in _NAMES:
        return _NAMES[name]
    if name.endswith((".sh", ".bash")):
        return "commands"
    root = read(source, Draft())
    if isinstance(root, Table):
        return next((kind for key, kind in _KEYS if root.entry(key)), None)
    return "commands" if "docker sandbox " in source.text else None
