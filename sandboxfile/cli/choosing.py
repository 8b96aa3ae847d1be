"""What `-t TEMPLATE` and `--policy POLICY` of `run` and `create` mean: definitions that the one-sandbox file needs.

A template is one of the sandbox file found upward, a built-in one, a saved one, or a base as in the language. What
comes from a file is taken with all that it stands on, so that the command's text means the same wherever it is read;
the policies that the file enforces come along. Nothing is changed here.
"""

import argparse
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sandboxfile import pipeline
from sandboxfile.agents.builtin import BUILTIN_TEMPLATES
from sandboxfile.cli.project import (
    WrongFile,
    checked_project,
    find_file,
    find_upward,
    given_with,
    show_problems,
    this_layout,
)
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.text import did_you_mean
from sandboxfile.errors import NotFoundError
from sandboxfile.host.policy_files import read_policy_files
from sandboxfile.images.saved import find_saved, list_saved
from sandboxfile.language.adding import plain
from sandboxfile.model.desired import FileContent
from sandboxfile.model.references import BASE_KINDS, is_saved_tag
from sandboxfile.names import name_from
from sandboxfile.resolve.render import config, escaped

MODES = ("allow", "deny")
_SAVED, _TAR, _DOCKER = "saved:", "tar:", "docker:"


@dataclass(frozen=True, slots=True)
class Chosen:
    """A template or a policy by its name (a mode as the policy itself), and the definitions that it needs, as written.

    `file`: the sandbox file that they are from, with all `contents` that it was read from.
    """

    name: str | Mapping[str, Any]
    templates: Mapping[str, Any] = field(default_factory=dict)
    policies: Mapping[str, Any] = field(default_factory=dict)
    file: Path | None = None
    contents: tuple[FileContent, ...] = ()


class Here:
    """The sandbox file given or found upward, read when it is first asked for."""

    def __init__(self, args: argparse.Namespace, console: Console) -> None:
        self._args, self._console = args, console

    @cached_property
    def path(self) -> Path | None:
        found = find_file(self._args.file) if self._args.file is not None else find_upward()
        return Path(os.path.abspath(found)) if found is not None else None  # noqa: PTH100 - `..` is text here

    @cached_property
    def loaded(self) -> pipeline.Loaded | None:
        """The file, right or wrong; None when there is none."""
        return (
            pipeline.load(self.path, this_layout(), frozen=None, given=given_with(self._args))
            if self.path is not None
            else None
        )

    @property
    def project(self) -> str | None:
        """None when there is no file, or it is wrong."""
        desired = self.loaded.desired if self.loaded is not None else None
        return desired.project if desired is not None else None

    def check_project(self) -> None:
        """Raises SandboxfileError when the file goes by the name of another one's project."""
        if self.project is not None:
            checked_project(self.project, self._args)

    @property
    def sandboxes(self) -> Collection[str]:
        """Their names, replicas one by one; also those of a wrong file."""
        if self.loaded is not None and self.loaded.desired is not None:
            return [spec.id.name for spec in self.loaded.desired.sandboxes]
        file = self.loaded.file if self.loaded is not None else None
        return file.sandboxes.keys() if file is not None else ()

    def template(self, word: str, *, local_image: bool = False) -> Chosen:
        """What `-t` names; with `local_image` an image of this host. Raises NotFoundError, WrongFile."""
        if local_image:
            return _base(_DOCKER + word.removeprefix(_DOCKER))
        file = self.loaded.file if self.loaded is not None else None
        if file is not None and word in file.templates:
            return self._template_of_file(word)
        if word in BUILTIN_TEMPLATES:
            return Chosen(word)
        kind, colon, rest = word.partition(":")
        if is_saved_tag(word) and find_saved(this_layout(), word) is not None:
            return _base(_SAVED + word)
        if colon and kind in BASE_KINDS:
            return _base(_TAR + str(Path(rest).expanduser().absolute()) if kind == "tar" else word)
        known = [*(file.templates if file is not None else ()), *BUILTIN_TEMPLATES]
        known += [info.tag for info in list_saved(this_layout())]
        hint = did_you_mean(word, known) or f"there are: {', '.join(known)}; or a base: oci:REF, docker:IMAGE, tar:PATH"
        raise NotFoundError(f"there is no template {word}", hint=hint)

    def _template_of_file(self, name: str) -> Chosen:
        data = self._right()
        templates = dict(_chain(name, data["templates"]))
        policies = {level["policy"] for level in templates.values() if isinstance(level.get("policy"), str)}
        return Chosen(name, templates, self._policies(policies), self.path, self._contents)

    def policy(self, word: str) -> Chosen:
        """What `--policy` names: a mode, or a policy of the file, of the user or of the machine."""
        if word in MODES:
            return Chosen({"mode": word})
        file = self.loaded.file if self.loaded is not None else None
        if file is not None and word in file.policies:
            self._right()
            return Chosen(word, policies=self._policies({word}), file=self.path, contents=self._contents)
        names = read_policy_files(this_layout()).names
        if word in names:
            return Chosen(word)
        known = [*MODES, *(file.policies if file is not None else ()), *sorted(names)]
        hint = did_you_mean(word, known) or f"there are: {', '.join(known)}"
        raise NotFoundError(f"there is no policy {word}", hint=hint)

    @property
    def _contents(self) -> tuple[FileContent, ...]:
        return self.loaded.files if self.loaded is not None else ()

    def _right(self) -> dict[str, Any]:
        """The file as `sbx config` prints it, every path in it absolute. Raises WrongFile, after showing why."""
        assert self.loaded is not None, "something of it is wanted"
        if self.loaded.desired is None:
            show_problems(self.loaded, self._console)
            raise WrongFile("the sandbox file has errors; nothing was made")
        return config(self.loaded.desired)

    def _policies(self, names: Collection[str]) -> dict[str, Any]:
        """These and the enforced ones, with all that they extend, as they are written."""
        assert self.loaded is not None
        assert self.loaded.root is not None, "it was loaded"
        written = escaped(plain(self.loaded.root).get("policies") or {})
        held = [name for name, policy in written.items() if (policy or {}).get("enforce")]
        return {name: policy for start in (*sorted(names), *held) for name, policy in _extended(start, written)}


def _base(text: str) -> Chosen:
    name = name_from(text)
    return Chosen(name, {name: {"base": text.replace("$", "$$")}})


def _chain(name: str, templates: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """A template and all that it stands on, as far as these are in the file; it was loaded, so there is no circle."""
    while name in templates:
        yield name, templates[name]
        name = templates[name].get("base", "")


def _extended(name: str, policies: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The same for a policy; those of the user and of the machine are there without us."""
    if name in policies:
        yield name, policies[name]
        above = (policies[name] or {}).get("extends") or ()
        for each in (above,) if isinstance(above, str) else above:
            yield from _extended(each, policies)
