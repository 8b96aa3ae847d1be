"""Show what a template is made of, what its build may reach, its layers, versions and environment.

With --files everything that is in it, with --diff in what it differs from another: for those that are built.
"""

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

from sandboxfile.cli import exits
from sandboxfile.cli.project import this_layout
from sandboxfile.cli.running import run_async
from sandboxfile.cli.template_contents import need_built, shown, tree_of
from sandboxfile.cli.templates import Known, find
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.json import write_json
from sandboxfile.cli.views.templates import detail, difference_lines, difference_object, file_lines, file_object, page
from sandboxfile.images.layers.tree import Tree, differences


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=("human", "json"), default="human")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--files", action="store_true", help="list everything that is in it")
    what.add_argument("--diff", metavar="OTHER", help="show in what it differs from another one")
    parser.add_argument("names", metavar="NAME", nargs="+", help="a template, the tag of a saved one, or a digest")


def run(args: argparse.Namespace, console: Console) -> int:
    known = find(args.names, args, console)
    if args.files or args.diff is not None:
        return run_async(partial(_look_inside, known, args, console))
    layout = this_layout()
    if args.format == "json":
        write_json([detail(shown(each, layout)) for each in known], console)
    else:
        now = datetime.now(UTC)
        console.print("\n\n".join(page(shown(each, layout), now) for each in known))
    return exits.OK


async def _look_inside(known: Sequence[Known], args: argparse.Namespace, console: Console) -> int:
    """The files of each, or in what they differ from another one's."""
    others = find([args.diff], args, console) if args.diff is not None else []
    need_built([*known, *others])
    layout = this_layout()
    trees = [await tree_of(each, layout, console) for each in known]
    if others:
        _show_differences(known, trees, others[0], await tree_of(others[0], layout, console), args, console)
    else:
        _show_files(known, trees, args, console)
    return exits.OK


def _show_files(known: Sequence[Known], trees: Sequence[Tree], args: argparse.Namespace, console: Console) -> None:
    if args.format == "json":
        objects = [
            {"name": each.name, "files": [file_object(tree[path]) for path in sorted(tree)]}
            for each, tree in zip(known, trees, strict=True)
        ]
        write_json(objects, console)
        return
    for tree in trees:
        for line in file_lines(tree):
            console.print(line)


def _show_differences(
    known: Sequence[Known],
    trees: Sequence[Tree],
    other: Known,
    second: Tree,
    args: argparse.Namespace,
    console: Console,
) -> None:
    found = [
        (each.name, differences(tree, second, names=(each.name, other.name)))
        for each, tree in zip(known, trees, strict=True)
    ]
    if args.format == "json":
        write_json([difference_object(name, other.name, each) for name, each in found], console)
        return
    for name, each in found:
        if each:
            console.print(difference_lines(each))
        else:
            console.say(f"{name} and {other.name} have the same content")
