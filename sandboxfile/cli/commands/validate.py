"""Check the sandbox file and say everything that is wrong with it, with places and hints."""

import argparse

from sandboxfile import pipeline
from sandboxfile.cli import exits
from sandboxfile.cli.project import find_file, show_problems, this_layout
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.diagnostics import to_json
from sandboxfile.cli.views.json import write_json
from sandboxfile.diagnostics import has_errors


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=("human", "json"), default="human")


def run(args: argparse.Namespace, console: Console) -> int:
    path = find_file(args.file)
    loaded = pipeline.load(path, this_layout())
    if args.format == "json":
        valid = not has_errors(loaded.diagnostics)
        write_json({"valid": valid, "diagnostics": to_json(loaded.diagnostics)}, console)
    else:
        show_problems(loaded, console)
        if not has_errors(loaded.diagnostics):
            console.say(f"{path} is valid")
    return exits.FAILED if has_errors(loaded.diagnostics) else exits.OK
