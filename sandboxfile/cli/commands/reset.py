"""Stop and delete every sandbox of this user, of every project, unreadable ones too. The last resort.

The cache of kernels and images stays, and so do workspaces.
"""

import argparse

from sandboxfile.cli.applying import add_apply_options
from sandboxfile.cli.project import known_sandboxes, this_layout
from sandboxfile.cli.verbs import remove_even_unreadable
from sandboxfile.cli.views.console import Console


def register(parser: argparse.ArgumentParser) -> None:
    add_apply_options(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    return remove_even_unreadable(known_sandboxes(this_layout()), args, console)
