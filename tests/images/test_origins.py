"""Every origin that the language knows has a module that fetches it."""

from importlib import import_module
from typing import get_args

from sandboxfile.images import origins
from sandboxfile.model.template import OriginKind


def test_each_kind_of_origin_is_fetched_by_a_module_or_is_a_saved_one():
    assert {*origins._MODULES, "saved"} == set(get_args(OriginKind))
    for name in origins._MODULES.values():
        assert callable(import_module(f"sandboxfile.images.{name}").fetch)
