"""What sandbox.lock does to what is wanted: pins what templates are made from, where it still fits the file. Pure.

An entry fits when the file asks for what it asked for when it was locked. One that does not fit pins nothing, and says
in words what moved: a template is never built from half of an old lock.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

from sandboxfile.diagnostics import Diagnostic, Diagnostics, Span, error, warning
from sandboxfile.model.desired import DesiredState
from sandboxfile.model.fingerprint import fingerprint
from sandboxfile.model.lock import Lock, LockedTemplate
from sandboxfile.model.spec import SandboxFile
from sandboxfile.model.template import BuildStep, DesiredTemplate, Origin, PlacedFile, Recipe, Versions
from sandboxfile.resolve.templates import IMAGE_FORMAT, named

_HINT = "`sbx template lock` locks it as the file has it now"
_DIGEST_SHOWN = 19  # characters: `sha256:` and 12 digits


@dataclass(frozen=True, slots=True)
class Moved:
    """One thing that is not as it was locked. `locked` or `now` is empty when it came or went."""

    template: str
    what: str
    locked: str
    now: str

    def __str__(self) -> str:
        before, after = _shown(self.locked), _shown(self.now)
        if not self.locked or not self.now:
            return f"{self.template}: {self.what}: {f'+ {after}' if self.now else f'- {before}'}"
        if self.locked.startswith("sha256:"):
            return f"{self.template}: {self.what} changed ({before} -> {after})"
        return f"{self.template}: {self.what} was {before}, is {after}"


@dataclass(frozen=True, slots=True)
class LockState:
    """One template and the lock. `asked`: its recipe as the file has it, without pins; `entry`: what the lock says.

    `used_by` are sandboxes of the file.
    """

    template: str
    asked: Recipe
    entry: LockedTemplate | None = None
    moved: tuple[Moved, ...] = ()
    used_by: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether the lock pins it."""
        return self.entry is not None and not self.moved


def locked(name: str, recipe: Recipe, lock: Lock | None) -> tuple[Recipe, LockState]:
    """The recipe with the lock's pins, as it is without a fitting entry, and how it stands with the lock."""
    entry = lock.templates.get(name) if lock else None
    if entry is None:
        return recipe, LockState(name, recipe)
    moved = _moved(name, entry.recipe, recipe)
    if entry.format != IMAGE_FORMAT:
        moved = (*moved, Moved(name, "the way of building", f"format {entry.format}", f"format {IMAGE_FORMAT}"))
    state = LockState(name, recipe, entry, moved)
    return (pinned(recipe, entry.recipe) if state.fits else recipe), state


def _moved(name: str, before: Recipe, recipe: Recipe) -> tuple[Moved, ...]:
    old, new = asked_of(before, recipe.origin), asked_of(hidden(recipe))
    if _same(old, new):
        return ()
    # Never nothing: what differs and has no words (the same file twice) does not fit either.
    return differences(name, old, new) or (Moved(name, "what it is made of", "something else", "another"),)


def lock_state(
    desired: DesiredState, lock: Lock | None, frozen: bool = False
) -> tuple[DesiredState, tuple[LockState, ...]]:
    """The same state with everything pinned that the lock pins, and how each template stands with it."""
    found = {item.name: locked(item.name, item.recipe, lock) for item in desired.templates}
    templates = tuple(_with_pins(item, *found[item.name], frozen) for item in desired.templates)
    digests = {item.name: item.recipe.digest for item in templates}
    sandboxes = tuple(
        replace(item, image=replace(item.image, digest=digests[item.template])) for item in desired.sandboxes
    )
    states = tuple(
        replace(state, used_by=tuple(item.id.name for item in sandboxes if item.template == name))
        for name, (_, state) in found.items()
    )
    return replace(desired, sandboxes=sandboxes, templates=templates), states


def _with_pins(item: DesiredTemplate, recipe: Recipe, state: LockState, frozen: bool) -> DesiredTemplate:
    if state.entry is None or not state.fits:
        return item
    held = frozen and not unpinnable(recipe)
    return replace(item, recipe=recipe, locked=True, content=state.entry.content, frozen=held)


def lock_problems(
    states: Sequence[LockState], file: SandboxFile, lock_file: str, frozen: Collection[str] = ()
) -> Diagnostics:
    """What does not stand as locked: an error for each template in `frozen`, for others a warning.

    `lock_file` is the lock's name, empty where there is none: then nobody is told but who asked for `frozen`.
    """
    if not lock_file:
        if not frozen:
            return ()
        names = ", ".join(f"`{name}`" for name in sorted(set(frozen)))
        detail = f"There is no lock file: nothing says what {names} must be made from."
        return (error("Not locked", detail, None, "`sbx template lock` writes it; it belongs into version control"),)
    found = [_problem(state, file, lock_file, frozen) for state in states if not state.fits]
    found += [
        _loose(state, file) for state in states if state.fits and state.template in frozen and unpinnable(state.asked)
    ]
    return tuple(found)


def _loose(state: LockState, file: SandboxFile) -> Diagnostic:
    detail = f"`{state.template}` is locked but for {'; '.join(unpinnable(state.asked))}: what that does is not held."
    return warning("Not wholly locked", detail, _place(state, file))


def cached_problems(desired: DesiredState, images: Mapping[str, str]) -> Diagnostics:
    """Images in the cache, by their recipe's digest, that are not what the lock holds a frozen template to."""
    used = {sandbox.template for sandbox in desired.sandboxes}
    return tuple(
        error(
            "Not the locked image",
            f"the image of template {item.name} in the cache is {_shown(there)}, and was locked as"
            f" {_shown(item.content)}",
            hint=f"sbx template build --fresh {item.name}",
        )
        for item in desired.templates
        if item.frozen and item.name in used
        if (there := images.get(item.recipe.digest, "")) not in ("", item.content)
    )


def _problem(state: LockState, file: SandboxFile, lock_file: str, frozen: Collection[str]) -> Diagnostic:
    say = error if state.template in frozen else warning
    span = _place(state, file)
    if state.entry is None:
        return say("Not locked", f"{lock_file} has no template `{state.template}`.", span, _HINT)
    words = "; ".join(str(moved).removeprefix(f"{state.template}: ") for moved in state.moved)
    return say("Lock does not fit", f"{lock_file} has another `{state.template}`: {words}.", span, _HINT)


def _place(state: LockState, file: SandboxFile) -> Span | None:
    """Where a template is written; of a built-in one, where it is used."""
    if state.template in file.templates:
        return file.span("templates", state.template)
    return file.span("sandboxes", state.used_by[0]) if state.used_by else None


# --- pins --------------------------------------------------------------------------------------------------------


def pinned(recipe: Recipe, by: Recipe) -> Recipe:
    """A recipe with another's pins, which must ask for the same. Pinning it again changes nothing."""
    origin = replace(recipe.origin, digest=recipe.origin.digest or by.origin.digest, versions=by.origin.versions)
    steps = (replace(step, versions=other.versions) for step, other in zip(recipe.steps, by.steps, strict=True))
    return named(replace(recipe, origin=origin, steps=tuple(steps), epoch=by.epoch))


def carried(recipe: Recipe, by: Recipe) -> Recipe:
    """A recipe with those of another's pins that still fit: up to the first step that asks for something else."""
    asked, before = asked_of(hidden(recipe)), asked_of(by, recipe.origin)
    if not _same(replace(asked, steps=()), replace(before, steps=())):
        return recipe
    same = 0
    while same < min(len(asked.steps), len(before.steps)) and _sorted(asked.steps[same]) == _sorted(before.steps[same]):
        same += 1
    part = pinned(replace(recipe, steps=recipe.steps[:same]), replace(by, steps=by.steps[:same]))
    return named(replace(part, steps=(*part.steps, *recipe.steps[same:])))


def asked_of(recipe: Recipe, known: Origin | None = None) -> Recipe:
    """Without pins: what the file asks for. With `known`, a digest that it does not know is left out."""
    digest = recipe.origin.digest if known is None or known.digest else ""
    return Recipe(
        replace(recipe.origin, digest=digest, versions=()), tuple(replace(step, versions=()) for step in recipe.steps)
    )


def hidden(recipe: Recipe) -> Recipe:
    """As it stands in a lock: without the values of build arguments, which may be anybody's, but telling them apart."""
    args = tuple((name, f"sha256:{fingerprint(value)}") for name, value in recipe.origin.args)
    return replace(recipe, origin=replace(recipe.origin, args=args), digest="")


def unpinnable(recipe: Recipe) -> tuple[str, ...]:
    """What of it no lock can hold, in words: commands do what they do. Empty: the same pins give the same content."""
    found = ["what the FROM and RUN lines of the Dockerfile get"] if recipe.origin.kind == "dockerfile" else []
    return (*found, *(f"run {_words(step.command)}" for step in recipe.steps if step.kind == "run"))


# --- differences -------------------------------------------------------------------------------------------------


def differences(template: str, locked: Recipe, now: Recipe) -> tuple[Moved, ...]:
    """Everything that differs between two recipes but their digests and epochs; pins as well, where both have them."""
    found = [*_origin(locked.origin, now.origin), *_steps(locked.steps, now.steps)]
    return tuple(dict.fromkeys(Moved(template, what, old, new) for what, old, new in found if old != new))


_Change = tuple[str, str, str]  # what, locked, now


def _origin(locked: Origin, now: Origin) -> Iterator[_Change]:
    before, after = (f"{origin.kind}:{origin.reference}".removesuffix(":") for origin in (locked, now))
    yield "base", before, after
    if before == after:
        yield f"base {before}", locked.digest, now.digest
    yield "build.dockerfile", locked.dockerfile, now.dockerfile
    yield "build.target", locked.target, now.target
    yield from _pairs("build.args.", locked.args, now.args)
    yield from _packages("apt", locked.packages, now.packages)
    yield from _pairs("apt ", locked.versions, now.versions)


def _steps(locked: Sequence[BuildStep], now: Sequence[BuildStep]) -> Iterator[_Change]:
    """Steps of one kind at one place are the same step, changed; others came or went."""
    before, after = [_sorted(step) for step in locked], [_sorted(step) for step in now]
    for kind, first, last, start, end in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        old, new = list(before[first:last]), list(after[start:end])
        while old and new and old[0].kind == new[0].kind:
            yield from _step(old.pop(0), new.pop(0))
        yield from ((_kind(step), _words_of(step), "") for step in old)
        yield from ((_kind(step), "", _words_of(step)) for step in new)


def _step(locked: BuildStep, now: BuildStep) -> Iterator[_Change]:
    yield from _packages(locked.kind, locked.packages, now.packages)
    yield from _pairs(f"{locked.kind} ", locked.versions, now.versions)
    yield from _files(locked.files, now.files)
    yield "run", _words(locked.command), _words(now.command)
    about = f"of run {_words(now.command)}" if now.command else f"of {_kind(now)}"
    yield f"user {about}", locked.user, now.user
    yield from ((f"{what} {about}", old, new) for what, old, new in _pairs("env.", locked.env, now.env))


def _packages(kind: str, locked: Sequence[str], now: Sequence[str]) -> Iterator[_Change]:
    what = f"packages.{kind}"
    yield from ((what, name, "") for name in locked if name not in now)
    yield from ((what, "", name) for name in now if name not in locked)
    if sorted(locked) == sorted(now):
        yield f"order of {what}", " ".join(locked), " ".join(now)


def _files(locked: Sequence[PlacedFile], now: Sequence[PlacedFile]) -> Iterator[_Change]:
    before, after = ({file.target: file for file in files} for files in (locked, now))
    for target in sorted(before.keys() | after.keys()):
        old, new = before.get(target), after.get(target)
        if old is None or new is None:
            yield "files", target if old else "", target if new else ""
        else:
            yield f"files {target}", old.digest, new.digest
            yield f"mode of files {target}", f"0{old.mode:03o}", f"0{new.mode:03o}"
    if before == after:
        old_order, new_order = (" ".join(file.target for file in files) for files in (locked, now))
        yield "order of files", old_order, new_order


def _pairs(prefix: str, locked: Versions, now: Versions) -> Iterator[_Change]:
    before, after = dict(locked), dict(now)
    for name in sorted(before.keys() | after.keys()):
        # Quotes tell an empty value from none; a version is never empty.
        old, new = (repr(found) if (found := values.get(name)) == "" else found or "" for values in (before, after))
        yield f"{prefix}{name}", old, new


def _kind(step: BuildStep) -> str:
    return step.kind if step.kind in ("files", "run") else f"packages.{step.kind}"


def _words_of(step: BuildStep) -> str:
    return _words(step.command) or " ".join(step.packages or [file.target for file in step.files]) or "nothing"


def _words(command: Sequence[str]) -> str:
    """As somebody wrote it: of `/bin/sh -c WORDS` the words."""
    words = command[2] if len(command) == 3 and tuple(command[:2]) == ("/bin/sh", "-c") else " ".join(command)
    return " ".join(words.split())


def _shown(value: str) -> str:
    return f"{value[:_DIGEST_SHOWN]}…" if value.startswith("sha256:") else value


def _sorted(step: BuildStep) -> BuildStep:
    return replace(step, env=tuple(sorted(step.env)))


def _same(one: Recipe, other: Recipe) -> bool:
    """Equal in all but the order of what has none."""

    def plain(recipe: Recipe) -> Recipe:
        origin = replace(recipe.origin, args=tuple(sorted(recipe.origin.args)))
        return replace(recipe, origin=origin, steps=tuple(_sorted(step) for step in recipe.steps))

    return plain(one) == plain(other)
