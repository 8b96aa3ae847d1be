"""Stop and start sandboxes; the disk stays."""

import argparse

from sandboxfile.cli.applying import add_fit_option
from sandboxfile.cli.verbs import register_names, run_verb
from sandboxfile.cli.views.console import Console


def register(parser: argparse.ArgumentParser) -> None:
    register_names(parser)
    add_fit_option(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    return run_verb("restart", args, console)
