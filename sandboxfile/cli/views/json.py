"""Values as JSON on standard output: two spaces, UTF-8, one document."""

import json
from typing import Any

from sandboxfile.cli.views.console import Console


def write_json(value: Any, console: Console) -> None:
    """Print plain data (dicts, lists, scalars)."""
    console.print(json.dumps(value, indent=2, ensure_ascii=False))
