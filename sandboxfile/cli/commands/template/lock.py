"""Write down in sandbox.lock what the templates are made from: digests, versions of packages, and the result.

Templates that are locked and have not changed keep their pins, and so does what has not changed of those that have;
--update takes what registries and mirrors have now. What is not built yet is built. --frozen only checks that the lock
fits the sandbox file. The lock belongs into version control.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import anyio

from sandboxfile import pipeline
from sandboxfile.cli import exits
from sandboxfile.cli.commands.template.build import add_build_options, build_one, check_room
from sandboxfile.cli.project import WrongFile, load_file, show_diagnostics, show_problems, this_layout
from sandboxfile.cli.running import run_async
from sandboxfile.cli.templates import not_found
from sandboxfile.cli.trusting import settle_builds
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.progress import Emit, show_progress
from sandboxfile.cli.views.text import harmless
from sandboxfile.diagnostics import has_errors
from sandboxfile.errors import BuildError, SandboxfileError, StaleError
from sandboxfile.host.layout import LOCK_FILE, Layout
from sandboxfile.host.lock_file import read_lock, write_lock
from sandboxfile.host.statedir import ensure_directories
from sandboxfile.host.tasks import together
from sandboxfile.host.trust import carry_over
from sandboxfile.model.desired import FileContent
from sandboxfile.model.lock import Lock, LockedTemplate, encode_lock
from sandboxfile.model.template import DesiredTemplate
from sandboxfile.planning.trusting import digest_of
from sandboxfile.resolve.locking import LockState, carried, differences, lock_problems, pinned, unpinnable
from sandboxfile.resolve.templates import named


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--update", action="store_true", help="take what registries and mirrors have now")
    add_build_options(parser)
    parser.add_argument("names", metavar="NAME", nargs="*", help="only these templates")


def run(args: argparse.Namespace, console: Console) -> int:
    if args.frozen and args.update:
        raise SandboxfileError("--frozen changes nothing, and --update is there to change: give one of them")
    loaded = load_file(args, frozen=None)
    show_problems(loaded, console)
    if loaded.desired is None or loaded.lock is None:
        raise WrongFile("the sandbox file or its lock has errors; nothing was changed")
    states = chosen(args.names, loaded.lock_states)
    if args.frozen:
        return check(states, loaded, console)
    templates = {template.name: template for template in loaded.desired.templates}
    to_do = [_Work(state, _template(state, templates[state.template], args.update)) for state in states]
    to_do = [work for work in to_do if args.update or not work.state.fits]
    if to_do:
        settle_builds([work.template.name for work in to_do], loaded.everything, console)
        layout = this_layout()
        check_room([work.template for work in to_do], layout, console, overcommit=args.overcommit)
        ensure_directories(layout)
    return run_async(partial(_lock_and_write, to_do, loaded, args, console))


def chosen(names: Sequence[str], states: Sequence[LockState]) -> list[LockState]:
    """The templates of these names; without names all. Raises NotFoundError with all that are unknown."""
    by_name = {state.template: state for state in states}
    if missing := [name for name in names if name not in by_name]:
        raise not_found(missing, list(by_name))
    return [by_name[name] for name in dict.fromkeys(names)] or list(states)


def check(states: Sequence[LockState], loaded: pipeline.Loaded, console: Console) -> int:
    """Say what does not stand as locked; gives the exit code."""
    assert loaded.lock is not None
    assert loaded.file is not None
    lock_file = LOCK_FILE if loaded.lock.lock else ""
    found = lock_problems(states, loaded.file, lock_file, [state.template for state in states])
    show_diagnostics(found, loaded.sources, console)
    if has_errors(found):
        return exits.FAILED
    console.say(
        f"{LOCK_FILE} holds {', '.join(state.template for state in states) or 'nothing: there are no templates'}"
    )
    return exits.OK


# --- building ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Work:
    """A template to lock: how it stands, and what is built of it."""

    state: LockState
    template: DesiredTemplate


def _template(state: LockState, template: DesiredTemplate, update: bool) -> DesiredTemplate:
    """With those of the old pins that still hold; of all that are to be new, with the old epoch.

    So what has not moved comes out as it was, and no sandbox is replaced for a date.
    """
    recipe = state.asked
    if state.entry is not None and update:
        recipe = named(replace(recipe, epoch=state.entry.recipe.epoch))
    elif state.entry is not None:
        recipe = carried(recipe, state.entry.recipe)
    return replace(template, recipe=recipe, locked=False, content="", frozen=False)


async def _lock_and_write(
    to_do: Sequence[_Work], loaded: pipeline.Loaded, args: argparse.Namespace, console: Console
) -> int:
    done = await _lock(to_do, this_layout(), args, console) if to_do else {}
    return exits.FAILED if done is None else _write(done, loaded, args, console)


async def _lock(
    to_do: Sequence[_Work], layout: Layout, args: argparse.Namespace, console: Console
) -> Mapping[str, LockedTemplate] | None:
    """Build what is to be locked; gives the entries. None when something failed, which has been said."""
    done: dict[str, LockedTemplate] = {}
    failed: list[tuple[str, SandboxfileError]] = []
    turns = anyio.Semaphore(args.parallel)
    async with show_progress(console) as emit:

        async def lock(work: _Work) -> None:
            async with turns:
                try:
                    done[work.template.name] = await _lock_one(work, layout, emit, args.update)
                except SandboxfileError as exc:
                    failed.append((f"template {work.template.name}", exc))

        await together(*(partial(lock, work) for work in to_do))
    for about, error in failed:
        console.failure(error, about=about)
    if failed:
        console.say(f"{LOCK_FILE} is as it was; what was built stays in the cache")
    return None if failed else done


async def _lock_one(work: _Work, layout: Layout, emit: Emit, update: bool) -> LockedTemplate:
    """Build one template and read off what it was made from; by its pins it is found from then on."""
    from sandboxfile.images import store
    from sandboxfile.images.aliasing import alias_image
    from sandboxfile.images.pinning import entry_of

    recipe = work.template.recipe
    image = None if update else store.find_image(layout, recipe.digest)
    entry = entry_of(layout, recipe, image) if image is not None else None
    if image is None or entry is None:  # the second: some of its layers have been pruned
        image = await build_one(work.template, layout, emit, fresh=update or image is not None)
        entry = entry_of(layout, recipe, image)
    if entry is None:
        raise BuildError(f"the layers of {work.template.name} have just been removed from the cache", hint="try again")
    await alias_image(layout, image, pinned(work.state.asked, entry.recipe), _say_nothing)
    return entry


def _say_nothing(message: str) -> None:
    """Links take no time to tell of."""


# --- the file ----------------------------------------------------------------------------------------------------


def _write(
    done: Mapping[str, LockedTemplate], loaded: pipeline.Loaded, args: argparse.Namespace, console: Console
) -> int:
    """Put the new entries among the old ones, and say what is new."""
    assert loaded.lock is not None
    old = loaded.lock.lock or Lock()
    here = {state.template: state for state in loaded.lock_states}
    gone = [] if args.names else sorted(old.templates.keys() - here.keys())
    kept = {name: entry for name, entry in old.templates.items() if name not in gone}
    for name in sorted(done):
        for line in _news(name, old.templates.get(name), done[name]):
            console.say(harmless(line))
    for name in gone:
        console.say(f"{name}: no longer in the file")
    for name in sorted(done):
        if loose := unpinnable(here[name].asked):
            console.warn(harmless(f"{name}: no lock holds {'; '.join(loose)}"))
    if read_lock(loaded.lock.path).lock != loaded.lock.lock:
        raise StaleError(f"{loaded.lock.path} was changed meanwhile, and is left as it is", hint="run it again")
    lock = Lock({**kept, **done})
    wrote = write_lock(loaded.lock.path, lock)
    before = FileContent(str(loaded.lock.path.absolute()), loaded.lock.digest)
    carry_over(this_layout(), before, digest_of(encode_lock(lock)))
    console.say(f"{'wrote' if wrote else 'nothing new for'} {loaded.lock.path}")
    return exits.OK


def _news(name: str, old: LockedTemplate | None, new: LockedTemplate) -> list[str]:
    """What is locked otherwise than before, a line each."""
    if old is None:
        origin = new.recipe.origin
        base = f"{origin.kind}:{origin.reference}".removesuffix(":")
        count = len(origin.versions) + sum(len(step.versions) for step in new.recipe.steps)
        words = [f"{base}@{origin.digest[:19]}" if origin.digest else base]
        words += [f"{count} package versions"] if count else []
        return [f"{name}: locked, {', '.join(words)}"]
    if moved := differences(name, old.recipe, new.recipe):
        return [str(each) for each in moved]
    if old.content != new.content:
        return [f"{name}: content changed ({old.content[:19]}… -> {new.content[:19]}…)"]
    return [f"{name}: as it was"]
