"""The user's and the machine's policy files, read and understood. Never written; absence is fine, anything else is not.

What cannot be read, or may hold the words of somebody else, is an error that stops everything: a policy which ought to
hold a sandbox is never left out.
"""

import os
from dataclasses import replace
from pathlib import Path

from sandboxfile.diagnostics import Diagnostic, Diagnostics, Span, error
from sandboxfile.errors import HostError, NotFoundError
from sandboxfile.host.files import as_read, read_file
from sandboxfile.host.layout import MACHINE_POLICY, Layout
from sandboxfile.language.document import decode
from sandboxfile.language.validate import load_policies
from sandboxfile.model.desired import FileContent
from sandboxfile.model.spec import PolicyFile
from sandboxfile.resolve.inputs import PolicyFiles


def read_policy_files(layout: Layout, home: Path | None = None, machine: Path = MACHINE_POLICY) -> PolicyFiles:
    """Both files, and everything that is wrong with them. They must belong to this user or root."""
    sources: dict[str, str] = {}
    problems: list[Diagnostic] = []
    files: list[FileContent] = []

    def read(path: Path, known: frozenset[str], may_choose: bool) -> PolicyFile | None:
        name = _shown(path, home or Path.home())
        data, found = _data(path, name)
        files.append(as_read(path, data))
        text, wrong = decode(data, name) if data is not None else (None, ())
        problems.extend((*found, *wrong))
        if text is None:
            return None
        sources[name] = text
        file, found = load_policies(text, name, known, may_choose=may_choose)
        problems.extend(item if item.span else replace(item, span=Span(name, 1, 1, 1, 2)) for item in found)
        return file

    of_machine = read(machine, frozenset(), may_choose=False)
    known = frozenset(of_machine.policies) if of_machine else frozenset()
    of_user = read(layout.user_policy, known, may_choose=True)
    return PolicyFiles(of_user, of_machine, tuple(problems), sources, tuple(files))


def _data(path: Path, name: str) -> tuple[bytes | None, Diagnostics]:
    try:
        return read_file(path, owners=frozenset({0, os.getuid()})), ()
    except NotFoundError:
        if not path.is_symlink():
            return None, ()
        return None, (error("Policy file not readable", f"{name} is a symlink to a file that does not exist."),)
    except HostError as exc:
        detail = f"{exc.message[:1].upper()}{exc.message[1:]}."
        return None, (error("Policy file not readable", detail, hint=exc.hint),)


def _shown(path: Path, home: Path) -> str:
    """`~/...` for what is in the home directory."""
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
