"""Which names `sbx secret set` keeps on this host. Values are `sandboxfile.secrets`' matter, and never read here."""

import json

from sandboxfile.host.layout import Layout
from sandboxfile.names import is_name

_INDEX = "index.json"
_VERSION = 1


def stored_names(layout: Layout) -> frozenset[str]:
    """The names of the index; none where it cannot be read: then nothing is taken to be there."""
    try:
        read = json.loads((layout.secrets / _INDEX).read_bytes())
    except (OSError, ValueError, RecursionError):
        return frozenset()
    if not isinstance(read, dict) or read.get("version") != _VERSION or not isinstance(read.get("secrets"), dict):
        return frozenset()
    return frozenset(name for name in read["secrets"] if is_name(name))
