"""Delete volumes with what is on them: show what is lost, ask, do it. One that belongs to a sandbox is refused."""

import argparse
from collections.abc import Sequence

from sandboxfile import pipeline
from sandboxfile.cli.applying import add_apply_options, plan_and_apply
from sandboxfile.cli.belonging import others_told
from sandboxfile.cli.project import project_here, this_layout
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.text import did_you_mean, harmless
from sandboxfile.errors import NotFoundError
from sandboxfile.host.volumes import volume_ids, volume_source
from sandboxfile.model.plan import Plan
from sandboxfile.names import VolumeId


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", metavar="NAME", nargs="+", help="volumes of this project, or PROJECT/NAME")
    add_apply_options(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    layout = this_layout()
    known = volume_ids(layout)
    unclear = any("/" not in name and [id.name for id in known].count(name) != 1 for name in args.names)
    here = project_here(args) if unclear else None
    ids = [match_volume(name, known, here) for name in args.names]
    for sentence in others_told(args.names, {id: volume_source(layout, id) for id in ids}, args.file):
        console.say(harmless(sentence))

    async def make_plans() -> list[Plan]:
        return await pipeline.make_volume_deletions(ids, layout)

    return plan_and_apply(make_plans, args, console)


def match_volume(name: str, known: Sequence[VolumeId], here: str | None) -> VolumeId:
    """`project/name`, or `name`: of the project `here`, else the only volume of that name. Raises NotFoundError."""
    matches = [id for id in known if name in (str(id), id.name)]
    if len(matches) > 1:
        matches = [id for id in matches if id.project == here] or matches
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise NotFoundError(f"several volumes are called {name}", hint=f"say which one: {', '.join(map(str, matches))}")
    hint = did_you_mean(name, [word for id in known for word in (str(id), id.name)]) or "`sbx volume ls` lists them"
    raise NotFoundError(f"there is no volume {name}; nothing was deleted", hint=hint)
