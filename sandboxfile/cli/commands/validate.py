"""Check the sandbox file, run the tests of its policies, and say everything that is wrong, with places and hints."""

import argparse

from sandboxfile import pipeline
from sandboxfile.cli import exits
from sandboxfile.cli.project import find_file, load_file, show_diagnostics
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.diagnostics import to_json
from sandboxfile.cli.views.json import write_json
from sandboxfile.diagnostics import has_errors, in_order


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=("human", "json"), default="human")


def run(args: argparse.Namespace, console: Console) -> int:
    path = find_file(args.file)
    loaded = load_file(args)
    problems = in_order((*loaded.diagnostics, *pipeline.failed_policy_tests(loaded)))
    valid = not has_errors(problems)
    if args.format == "json":
        write_json({"valid": valid, "diagnostics": to_json(problems)}, console)
    else:
        show_diagnostics(problems, loaded.sources, console)
        if valid:
            console.say(f"{path} is valid")
    return exits.OK if valid else exits.FAILED
