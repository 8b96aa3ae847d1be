"""Edits of the sandbox file: proposed, checked by reading them as `up` would, shown, and only then written.

Nothing is written unless the edited file is valid and means what was meant, and the file is still the one that was
read. What is written is written at once, with the file's mode and owner; symlinks are followed, never replaced.
"""

import os
import secrets
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from sandboxfile import pipeline
from sandboxfile.cli.project import show_problems, this_layout
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.diagnostics import render_human
from sandboxfile.cli.views.patch import patch
from sandboxfile.diagnostics import Diagnostic, error
from sandboxfile.errors import SandboxfileError, StaleError
from sandboxfile.host.files import read_file
from sandboxfile.host.trust import carry_over
from sandboxfile.language.document import decode
from sandboxfile.language.edit import Item, add_rules
from sandboxfile.model.desired import FileContent
from sandboxfile.model.policy import COMMAND, Layer, Mode, Policy, Rule
from sandboxfile.model.spec import PolicySpec
from sandboxfile.names import SandboxId
from sandboxfile.pipeline import Loaded
from sandboxfile.planning.trusting import ABSENT, digest_of


@dataclass(frozen=True, slots=True)
class Additions:
    """What is to be written into the policy of one sandbox."""

    allow: Sequence[Item] = ()
    block: Sequence[Item] = ()
    bypass: Sequence[Item] = ()
    mode: Mode | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """An edit that is checked and not written yet. `policy` is what the sandbox has with it."""

    path: Path
    before: bytes
    after: bytes
    policy: Policy

    def diff(self) -> str:
        """As `patch -p0` takes it here, when the file is here or below."""
        here = Path.cwd()
        name = self.path.relative_to(here) if self.path.is_relative_to(here) else self.path
        return patch(self.before.decode(), self.after.decode(), str(name))


def file_of(id: SandboxId, source: str, given: str | None) -> Path:
    """The file to edit for a sandbox: the `given` one, else the `source` it came of. Raises SandboxfileError."""
    if not (given or source):
        raise SandboxfileError(f"{id} is in no file", hint=f"`sbx adopt {id}` writes it into one")
    return Path(given or source).absolute()


def propose(
    path: Path,
    id: SandboxId,
    additions_to: Callable[[Policy], Additions],
    is_meant: Callable[[Policy, Policy], bool],
    console: Console,
) -> Proposal:
    """Edit the text of a file for one sandbox. Raises SandboxfileError, after showing why, when that cannot be done.

    `additions_to` is given the sandbox's policy as the file has it now; `is_meant` that one, and the edited file's.
    """
    before = read_file(path)
    now = pipeline.load(path, this_layout(), content=before)
    old = _policy(now, id, path, console)
    additions = additions_to(old)
    text, _ = decode(before, str(path))
    assert text is not None, "it was loaded"
    edited, problems = add_rules(
        text,
        str(path),
        id.name,
        allow=additions.allow,
        block=additions.block,
        bypass=additions.bypass,
        mode=additions.mode,
        extends=_inherited(now, id, old, console),
    )
    if edited is None:
        raise _not_edited(problems, now, console)
    after = edited.encode()
    new = _policy(pipeline.load(path, this_layout(), content=after), id, path, console)
    if not is_meant(old, new):
        raise SandboxfileError(
            f"{path} was not changed: its policy for {id.name} would not be the one that {id.name} has then",
            hint="`sbx plan` shows how the file differs from what was applied; `sbx up` applies it first",
        )
    return Proposal(path, before, after, new)


def _policy(loaded: Loaded, id: SandboxId, path: Path, console: Console) -> Policy:
    if loaded.desired is None:
        show_problems(loaded, console)
        raise SandboxfileError(f"{path} was not changed")
    found = next((spec for spec in loaded.desired.sandboxes if spec.id == id), None)
    if found is None:
        raise SandboxfileError(f"{path} has no sandbox {id}", hint="-f FILE names the file that has it")
    if found.service:
        raise SandboxfileError(
            f"{path} was not changed: {id.name} is one of the sandboxes of {found.service}, and they have one policy",
            hint=f"write it into the policy of {found.service}",
        )
    return found.policy


def _inherited(loaded: Loaded, id: SandboxId, policy: Policy, console: Console) -> str | None:
    """The name of the policy that a sandbox has without saying so; None when it says, or has none."""
    file = loaded.file
    assert file is not None, "it was resolved"
    if "policy" in file.sandboxes[id.name].model_fields_set:
        return None
    if "policy" in file.defaults.model_fields_set:
        if isinstance(file.defaults.policy, PolicySpec):
            raise _not_edited([_inline_default(loaded, id)], loaded, console)
        return file.defaults.policy
    whose, _, name = policy.own.name.partition("policy ")
    return name if whose in ("user ", "machine ") else None


def _inline_default(loaded: Loaded, id: SandboxId) -> Diagnostic:
    assert loaded.file is not None
    return error(
        "Cannot edit",
        f"The policy of `{id.name}` is written in `defaults`: an edit would change every sandbox.",
        loaded.file.span("defaults", "policy"),
        "put it under `policies:`, and its name into `defaults`",
    )


def _not_edited(problems: Sequence[Diagnostic], loaded: Loaded, console: Console) -> SandboxfileError:
    console.say(render_human(problems, loaded.sources, color=console.color).rstrip())
    return SandboxfileError("the file was not changed")


# --- what a policy means -----------------------------------------------------------------------------------------


def same_meaning(first: Policy, second: Policy) -> bool:
    """Whether two policies decide alike: names of layers, order, places and who typed a rule do not count.

    Nor do credentials: which of them there are also depends on the environment of the command.
    """
    return _meaning(first) == _meaning(second)


def _meaning(policy: Policy) -> object:
    settings = [item for item in policy.settings if item[0] not in policy.placeholders]
    return [_layer(layer) for layer in policy.layers], settings


def _layer(layer: Layer) -> object:
    lists = (frozenset(map(_anonymous, rules)) for rules in (layer.allow, layer.block, layer.bypass))
    return layer.mode, layer.inspect, layer.enforced, *lists


def _anonymous(rule: Rule) -> Rule:
    return replace(rule, origin="") if rule.origin == COMMAND else rule


# --- writing -----------------------------------------------------------------------------------------------------


def write(proposal: Proposal) -> None:
    """Replace the file as one step. Raises StaleError when it is no longer what the proposal was made from.

    Somebody inside may share the directory: what was written is read again, through the descriptor that wrote it.
    """
    with _opened(proposal.path) as (original, directory, name):
        found = os.fstat(original)
        if _content(original, len(proposal.before)) != proposal.before:
            raise _changed(proposal.path)
        temporary = f".{name}.{secrets.token_hex(8)}"
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)
        with os.fdopen(handle, "w+b") as file:
            try:
                file.write(proposal.after)
                file.flush()
                _take_over(handle, found)
                os.fsync(handle)
                _check_unchanged(proposal.path, name, directory, found)
                os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=directory)
                raise
            os.fsync(directory)
            if _content(handle, len(proposal.after)) != proposal.after:
                raise StaleError(f"{proposal.path} was changed while it was written", hint="look at it before `sbx up`")
    keep_trust(proposal)


def keep_trust(proposal: Proposal) -> None:
    """What was approved before an edit that somebody asked for is approved with it."""
    carry_over(this_layout(), content_of(proposal), digest_of(proposal.after))


def content_of(proposal: Proposal) -> FileContent:
    """The file as it is before the edit. Absent is also what is empty."""
    return FileContent(str(proposal.path.absolute()), digest_of(proposal.before) if proposal.before else ABSENT)


def _content(file: int, length: int) -> bytes:
    """What a file holds, and one byte more than expected."""
    return os.pread(file, length + 1, 0)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[int, int, str]]:
    """The file, the directory that it is really in, and its name there."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as exc:
        raise _changed(path) from exc
    try:
        real = Path(f"/proc/self/fd/{file}").readlink()
        directory = os.open(real.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield file, directory, real.name
        finally:
            os.close(directory)
    finally:
        os.close(file)


def _check_unchanged(path: Path, name: str, directory: int, found: os.stat_result) -> None:
    try:
        now = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError as exc:
        raise _changed(path) from exc
    if not os.path.samestat(now, found) or (now.st_mtime_ns, now.st_size) != (found.st_mtime_ns, found.st_size):
        raise _changed(path)


def _take_over(file: int, found: os.stat_result) -> None:
    """Owner first: a change of it clears bits of the mode."""
    with suppress(PermissionError):  # a file of somebody else, whom we may not give files to
        os.fchown(file, found.st_uid, found.st_gid)
    os.fchmod(file, stat.S_IMODE(found.st_mode))


def _changed(path: Path) -> StaleError:
    return StaleError(f"{path} was changed meanwhile, and is left as it is", hint="run the same command again")
