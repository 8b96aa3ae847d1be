"""Print the sandbox file fully resolved: defaults applied, values interpolated, paths absolute."""

import argparse

from sandboxfile.cli import exits
from sandboxfile.cli.project import load_file, right
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.json import write_json
from sandboxfile.resolve.render import config, to_yaml


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=("yaml", "json"), default="yaml")


def run(args: argparse.Namespace, console: Console) -> int:
    loaded = load_file(args)
    resolved = config(right(loaded, console), loaded.policy_tests)
    if args.format == "json":
        write_json(resolved, console)
    else:
        console.print(to_yaml(resolved).rstrip())
    return exits.OK
