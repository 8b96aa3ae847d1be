"""List templates: those of the sandbox file here, the built-in ones and the saved ones, with what they take on disk.

With --all also images in the cache that none of them means: of other projects, and of what templates were before.
"""

import argparse
from datetime import UTC, datetime

from sandboxfile.cli import exits
from sandboxfile.cli.project import this_layout
from sandboxfile.cli.template_contents import shown
from sandboxfile.cli.templates import nameless_images, saved_templates, templates_here
from sandboxfile.cli.views.cache import use_in_words
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.json import write_json
from sandboxfile.cli.views.templates import listing, summary
from sandboxfile.cli.views.text import roughly
from sandboxfile.images.prune import disk_use, survey


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-a", "--all", action="store_true", help="also images in the cache that no template means")
    parser.add_argument("--format", choices=("human", "json"), default="human")
    parser.add_argument("-q", "--quiet", action="store_true", help="only their names")


def run(args: argparse.Namespace, console: Console) -> int:
    layout = this_layout()
    known = [*templates_here(args, console), *saved_templates(layout)]
    if args.all:
        known += nameless_images(layout, known)
    found = [shown(each, layout) for each in known]
    if args.format == "json":
        write_json([summary(each) for each in found], console)
    elif args.quiet:
        for each in found:
            console.print(each.name)
    else:
        console.print(listing(found, datetime.now(UTC)))
        saved, _ = disk_use(layout.saved)
        console.say(use_in_words(survey(layout)) + (f"; saved templates {roughly(saved)}" if saved else ""))
    return exits.OK
