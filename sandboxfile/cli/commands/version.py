"""Print the version."""

import argparse

from sandboxfile import __version__
from sandboxfile.cli import exits
from sandboxfile.cli.views.console import Console


def register(parser: argparse.ArgumentParser) -> None:
    """No arguments."""


def run(_args: argparse.Namespace, console: Console) -> int:
    console.print(f"sbx {__version__}")
    return exits.OK
