"""Print the JSON Schema of the sandbox file, for editors."""

import argparse

from sandboxfile.cli import exits
from sandboxfile.cli.views.console import Console
from sandboxfile.language.schema import schema_text


def register(parser: argparse.ArgumentParser) -> None:
    """No arguments."""


def run(_args: argparse.Namespace, console: Console) -> int:
    console.print(schema_text().rstrip())
    return exits.OK
