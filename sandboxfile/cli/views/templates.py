"""Templates as table, detail page and JSON objects. Pure; the JSON's keys are public surface."""

import dataclasses
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sandboxfile.cli.views.cache import DIGITS, moment
from sandboxfile.cli.views.policy import policy_object, show
from sandboxfile.cli.views.text import age, harmless, one_line, roughly, table
from sandboxfile.images.config import ImageConfig
from sandboxfile.images.layers.tree import Entry, Tree
from sandboxfile.model.policy import NO_POLICY, Policy
from sandboxfile.model.template import BuildStep, DesiredTemplate, Origin, Recipe, Versions

HEADER = ("NAME", "SOURCE", "STATUS", "SIZE", "BUILT", "USED", "DIGEST", "MADE OF")
_WIDTH = 60  # characters of what a template is made of, in the table
_COMMAND_WIDTH = 100
_TYPES = {"file": stat.S_IFREG, "directory": stat.S_IFDIR, "symlink": stat.S_IFLNK, "fifo": stat.S_IFIFO}
_NONE = "-"
_NOTHING = ImageConfig()


@dataclass(frozen=True, slots=True)
class LayerRow:
    """A layer of a template; `size` is None when it is not in the cache."""

    key: str
    title: str
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """A template as it is shown, wherever it is kept. `source`: file, built-in, saved, cache.

    `digest`: of its recipe, or of a saved one's layers. `content`, `size` and the times (seconds since 1970) only when
    it is built.
    """

    name: str
    source: str
    made_of: str
    digest: str = ""
    content: str = ""
    size: int = 0
    created: float = 0.0
    used: float = 0.0
    template: DesiredTemplate | None = None
    config: ImageConfig = _NOTHING
    layers: tuple[LayerRow, ...] = ()
    versions: Mapping[str, Versions] = dataclasses.field(default_factory=dict)
    origin_digest: str = ""

    @property
    def built(self) -> bool:
        return bool(self.content) or self.source == "saved"


# --- the list ----------------------------------------------------------------------------------------------------


def listing(templates: Sequence[Shown], now: datetime) -> str:
    """A line per template."""
    return table(HEADER, [_cells(shown, now) for shown in templates])


def _cells(shown: Shown, now: datetime) -> list[str]:
    made_of = one_line(shown.made_of, _WIDTH)
    if not shown.built:
        return [shown.name, shown.source, "not built", _NONE, _NONE, _NONE, _NONE, made_of]
    status = "saved" if shown.source == "saved" else "built"
    digest = (shown.content or shown.digest).removeprefix("sha256:")[:DIGITS]
    built, used = _age(shown.created, now), _age(shown.used, now)
    return [shown.name, shown.source, status, roughly(shown.size), built, used, digest, made_of]


def _age(seconds: float, now: datetime) -> str:
    return age(moment(seconds), now) if seconds else _NONE


def summary(shown: Shown) -> dict[str, Any]:
    """One object of `template ls --format json`; sizes in bytes."""
    return {
        "name": shown.name,
        "source": shown.source,
        "made_of": shown.made_of,
        "built": shown.built,
        "digest": shown.digest or None,
        "content": shown.content or None,
        "size": shown.size if shown.built else None,
        "created_at": moment(shown.created) if shown.created else None,
        "used_at": moment(shown.used) if shown.used else None,
    }


# --- one template ------------------------------------------------------------------------------------------------


def detail(shown: Shown) -> dict[str, Any]:
    """One object of `template inspect --format json`."""
    template = shown.template
    return {
        **summary(shown),
        "recipe": _recipe_object(template.recipe) if template else None,
        "locked": template.locked if template else None,
        "policy": policy_object(template.policy) if template else None,
        "origin_digest": shown.origin_digest or None,
        "layers": [{"key": row.key, "made_by": row.title, "size": row.size} for row in shown.layers],
        "env": dict(shown.config.env),
        "user": shown.config.user or None,
        "workdir": shown.config.workdir or None,
        "command": list(shown.config.command),
        "versions": {kind: dict(pairs) for kind, pairs in shown.versions.items()},
    }


def _recipe_object(recipe: Recipe) -> dict[str, Any]:
    return {
        "origin": _plain(recipe.origin),
        "steps": [_plain(step) for step in recipe.steps],
        "epoch": recipe.epoch,
    }


def _plain(value: Origin | BuildStep) -> dict[str, Any]:
    fields = dataclasses.asdict(value)
    for name in ("versions", "args", "env"):
        if name in fields:
            fields[name] = dict(fields[name])
    return fields


def page(shown: Shown, now: datetime) -> str:
    """`template inspect` for people: a name and a value a line; an empty name goes on with the one above."""
    lines = [("name", shown.name), ("source", shown.source), ("made of", shown.made_of)]
    if shown.template is not None:
        lines += _recipe_lines(shown.template)
    lines += _built_lines(shown, now)
    lines += _config_lines(shown.config)
    lines += _version_lines(shown.versions)
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {harmless(value)}".rstrip() for name, value in lines)


def _recipe_lines(template: DesiredTemplate) -> list[tuple[str, str]]:
    origin = template.recipe.origin
    lines = [("begins with", origin_text(origin))]
    if origin.packages:
        lines.append(("packages", " ".join(origin.packages)))
    lines += _named("steps", [_with_place(step) for step in template.recipe.steps])
    lines += _named("policy", policy_lines(template.policy, bool(template.recipe.steps)))
    lines.append(("lock", "sandbox.lock pins it" if template.locked else "not locked: sbx template lock"))
    return lines


def origin_text(origin: Origin) -> str:
    """Where a root begins: `oci:registry.example.com/team/image:1 (sha256:…)`."""
    kind = "docker" if origin.kind == "local" else origin.kind
    where = origin.reference or origin.path
    text = f"{kind}:{where}"
    if origin.kind == "dockerfile":
        text = f"{origin.dockerfile or 'Dockerfile'} in {where}" + (
            f", target {origin.target}" if origin.target else ""
        )
    return f"{text} ({origin.digest})" if origin.digest else text


def _with_place(step: BuildStep) -> str:
    return step_text(step) + (f"  ({step.place})" if step.place else "")


def step_text(step: BuildStep) -> str:
    """What a step does, on one line."""
    if step.kind == "files":
        text = ", ".join(f"{file.target} (mode {file.mode:04o})" for file in step.files)
    elif step.kind == "run":
        text = _shell_line(step.command)
        text += f" (as {step.user})" if step.user != "root" else ""
    else:
        text = " ".join(step.packages)
    return one_line(f"{step.kind} {text}", _COMMAND_WIDTH)


def _shell_line(command: Sequence[str]) -> str:
    """As it stands in the file: a string there is `/bin/sh -c STRING`."""
    if tuple(command[:2]) == ("/bin/sh", "-c") and len(command) == 3:
        return command[2]
    return " ".join(command)


def policy_lines(policy: Policy, steps: bool) -> list[str]:
    """What the build may reach, in words."""
    if policy == NO_POLICY:
        return ["its steps reach nothing" if steps else "it has no steps that could reach anything"]
    return show(policy).splitlines()


def _built_lines(shown: Shown, now: datetime) -> list[tuple[str, str]]:
    if not shown.built:
        return [("status", "not built")]
    lines = [("status", "saved" if shown.source == "saved" else "built")]
    lines += [("content", shown.content)] if shown.content else []
    lines += [("digest", shown.digest)] if shown.digest else []
    lines.append(("size", f"{roughly(shown.size)} on disk"))
    lines.append(("created", f"{moment(shown.created)} ({_age(shown.created, now)} ago)"))
    if shown.used:
        lines.append(("last used", f"{moment(shown.used)} ({_age(shown.used, now)} ago)"))
    if shown.origin_digest:
        lines.append(("origin was", shown.origin_digest))
    return lines + _named("layers", [_layer_text(row) for row in shown.layers])


def _layer_text(row: LayerRow) -> str:
    size = "not in the cache" if row.size is None else roughly(row.size)
    return f"{row.key[:DIGITS]}  {size:>10}  {one_line(row.title, _COMMAND_WIDTH)}"


def _config_lines(config: ImageConfig) -> list[tuple[str, str]]:
    lines = _named("environment", [f"{name}={value}" for name, value in config.env])
    lines += [("user", config.user)] if config.user else []
    lines += [("directory", config.workdir)] if config.workdir else []
    lines += [("command", " ".join(config.command))] if config.command else []
    return lines


def _version_lines(versions: Mapping[str, Versions]) -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    for kind, pairs in sorted(versions.items()):
        lines += _named(kind, [f"{name} {version}" for name, version in pairs])
    return lines


def _named(name: str, values: Iterable[str]) -> list[tuple[str, str]]:
    """The values below each other, the first beside the name."""
    return [("" if number else name, value) for number, value in enumerate(values)]


# --- what is in it -----------------------------------------------------------------------------------------------


def file_lines(tree: Tree) -> Iterator[str]:
    """A line for everything in a root, like those of `ls -l`."""
    for path in sorted(tree):
        entry = tree[path]
        target = f" -> {entry.link}" if entry.kind == "symlink" else f" = {entry.link}" if entry.link else ""
        yield harmless(f"{_mode(entry)} {entry.uid}:{entry.gid} {entry.size:>10} {_flat(entry.path)}{_flat(target)}")


def _mode(entry: Entry) -> str:
    return stat.filemode(_TYPES[entry.kind] | entry.mode)


def _flat(text: str) -> str:
    """A name with a line break in it must not look like two."""
    return text.replace("\n", "\N{REPLACEMENT CHARACTER}").replace("\t", "\N{REPLACEMENT CHARACTER}")


def file_object(entry: Entry) -> dict[str, Any]:
    """One object of `template inspect --files --format json`."""
    return {
        "path": _text(entry.path),
        "kind": entry.kind,
        "mode": f"{entry.mode:04o}",
        "uid": entry.uid,
        "gid": entry.gid,
        "size": entry.size,
        "digest": f"sha256:{entry.digest}" if entry.digest else None,
        "link": _text(entry.link) or None,
        "modified_at": datetime.fromtimestamp(entry.mtime, UTC).isoformat() if 0 <= entry.mtime < 1 << 37 else None,
    }


def _text(path: str) -> str:
    """Bytes that are no UTF-8 as the replacement character: JSON is text."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def difference_lines(differences: Iterable[tuple[str, str]]) -> str:
    """A path and what differs there, a line each."""
    rows = [(_flat(_text(path)), what) for path, what in differences]
    return table(("PATH", "DIFFERS IN"), rows)


def difference_object(name: str, other: str, differences: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """One object of `template inspect --diff --format json`."""
    return {
        "name": name,
        "other": other,
        "differences": [{"path": _text(path), "what": what} for path, what in differences],
    }
