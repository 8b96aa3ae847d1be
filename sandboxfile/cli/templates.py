"""What the words of the template commands mean: a template of the file here, a built-in one, a saved one, an image.

`NAME` is the first of these that has it; `saved:TAG` is the saved one; hexadecimal digits are the beginning of an
image's digest, of its recipe or of its content (`sha256:…`).
"""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sandboxfile import pipeline
from sandboxfile.agents.builtin import BUILTIN_TEMPLATES
from sandboxfile.cli.project import (
    WrongFile,
    find_upward,
    known_sandboxes,
    load_file,
    load_project,
    show_problems,
    this_layout,
)
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.text import did_you_mean
from sandboxfile.errors import NotFoundError, StateError
from sandboxfile.host.layout import SANDBOX_FILES, Layout
from sandboxfile.host.statedir import read_record
from sandboxfile.images import saved, store
from sandboxfile.images.saved import SavedInfo
from sandboxfile.images.store import ImageInfo
from sandboxfile.model.desired import DesiredState, FileContent
from sandboxfile.model.references import is_saved_tag
from sandboxfile.model.template import DesiredTemplate
from sandboxfile.names import SandboxId

Source = Literal["file", "built-in", "saved", "cache"]
SAVED = "saved:"
_NOWHERE = Path("/dev/null")  # nothing can be in it, and so no lock either
_DIGEST = re.compile(r"(sha256:)?[0-9a-f]{6,64}\Z")
_BUILTIN_FILE = (
    f"name: builtin\nsandboxes: {{{', '.join(f'{name}: {{template: {name}}}' for name in BUILTIN_TEMPLATES)}}}\n"
)


@dataclass(frozen=True, slots=True)
class Known:
    """Something that the template commands can act on. `image` when it is built.

    `template` for those of the file and built-in ones, `saved` for a saved one. `project`: that of the file. `files`:
    all that says how it is built.
    """

    name: str
    source: Source
    template: DesiredTemplate | None = None
    image: ImageInfo | None = None
    saved: SavedInfo | None = None
    project: str = ""
    files: tuple[FileContent, ...] = ()


def templates_here(args: argparse.Namespace, console: Console, names: Sequence[str] = ()) -> list[Known]:
    """The templates of the file here, if there is one, and the built-in ones. Raises WrongFile.

    With --frozen the lock must hold those of these `names` (none given: those that sandboxes use).
    """
    layout = this_layout()
    file = load_project(args, console, names) if args.file is not None or find_upward() else None
    own = [(template, file) for template in file.templates] if file is not None else []
    known, builtin = {template.name for template, _ in own}, builtin_templates(layout, console)
    own += [(template, builtin) for template in builtin.templates if template.name not in known]
    return [_known(template, layout, state) for template, state in own]


def names_in_file(args: argparse.Namespace) -> list[str]:
    """The templates of the file here, right or wrong."""
    file = load_file(args).file
    return list(file.templates) if file is not None else []


def _known(template: DesiredTemplate, layout: Layout, state: DesiredState) -> Known:
    source: Source = "built-in" if template.name in BUILTIN_TEMPLATES else "file"
    image = store.find_image(layout, template.recipe.digest)
    project = state.project if source == "file" else ""
    return Known(template.name, source, template, image, project=project, files=state.files)


def builtin_templates(layout: Layout, console: Console) -> DesiredState:
    """The built-in templates, resolved as those of any file: of one that uses them all, and is nowhere."""
    loaded = pipeline.load(_NOWHERE / SANDBOX_FILES[0], layout, _BUILTIN_FILE.encode())
    if loaded.desired is None:  # the user's or the machine's policy file is wrong
        show_problems(loaded, console)
        raise WrongFile("the built-in templates cannot be resolved; nothing was changed")
    return loaded.desired


def saved_templates(layout: Layout) -> list[Known]:
    """Every saved template."""
    return [Known(info.tag, "saved", saved=info) for info in saved.list_saved(layout)]


def nameless_images(layout: Layout, known: Sequence[Known]) -> list[Known]:
    """Images in the cache that are none of these: of other projects, and of what these were once."""
    named = {each.image.digest for each in known if each.image is not None}
    return [
        Known(image.digest[:12], "cache", image=image) for image in store.images(layout) if image.digest not in named
    ]


def find(words: Sequence[str], args: argparse.Namespace, console: Console) -> list[Known]:
    """What each word means, without repeats. Raises NotFoundError with all that mean nothing."""
    layout = this_layout()
    here = templates_here(args, console)
    kept = saved_templates(layout)
    found: dict[str, Known] = {}
    missing = []
    for word in words:
        if (meant := _one(word, here, kept, layout)) is not None:
            found.setdefault(f"{meant.source}:{meant.name}", meant)
        else:
            missing.append(word)
    if missing:
        raise not_found(missing, [each.name for each in (*here, *kept)])
    return list(found.values())


def _one(word: str, here: Sequence[Known], kept: Sequence[Known], layout: Layout) -> Known | None:
    tag = word.removeprefix(SAVED)
    named = [] if tag != word else [each for each in here if each.name == word]
    named += [each for each in kept if each.name in (word, tag)]
    if named:
        return named[0]
    return _by_digest(word, [*here, *nameless_images(layout, here)]) if _DIGEST.match(word) else None


def _by_digest(word: str, known: Sequence[Known]) -> Known | None:
    """What has an image whose digest begins so. Raises NotFoundError when there are several."""
    digits = word.removeprefix("sha256:")
    fits = []
    for each in known:
        image = each.image
        if image is not None and (image.content.removeprefix("sha256:").startswith(digits) or _is(image, word)):
            fits.append(each)
    if len({each.image.digest for each in fits if each.image}) > 1:
        digests = ", ".join(each.image.digest[:20] for each in fits if each.image)
        raise NotFoundError(f"several images begin with {word}", hint=f"say more of it: {digests}")
    return fits[0] if fits else None


def _is(image: ImageInfo, word: str) -> bool:
    return image.digest.startswith(word)


def not_found(words: Sequence[str], known: Sequence[str]) -> NotFoundError:
    """There is none of these."""
    hint = did_you_mean(words[0], list(known)) or "`sbx template ls --all` lists all there are"
    several = len(words) > 1
    return NotFoundError(f"there {'are no templates' if several else 'is no template'} {', '.join(words)}", hint=hint)


def standing_on(layout: Layout) -> dict[str, list[SandboxId]]:
    """Which sandboxes were made from an image, by its digest. A record that cannot be read says nothing."""
    found: dict[str, list[SandboxId]] = {}
    for id in known_sandboxes(layout):
        try:
            applied = read_record(layout.sandbox(id))
        except StateError:
            continue
        found.setdefault(applied.spec.image.digest, []).append(id)
    return found


def standing_images(layout: Layout) -> frozenset[str]:
    """Digests of the images that sandboxes were made from."""
    return frozenset(standing_on(layout))


def saved_tag(text: str) -> str:
    """A tag for a saved template, `saved:` before it or not."""
    tag = text.removeprefix("saved:")
    if not is_saved_tag(tag):
        rule = "lower-case letters, digits, `.`, `_` and `-`, then perhaps `:` and a tag"
        raise argparse.ArgumentTypeError(f"{text!r} is not the tag of a saved template: {rule}")
    return tag
