"""A plan in colour and as JSON."""

import io
import json

from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.plan import plan_object, render_plan
from sandboxfile.diagnostics import error
from sandboxfile.model.plan import Change, FieldChange, Plan
from sandboxfile.names import SandboxId

PLAN = Plan(
    "shop",
    "f",
    (
        Change("sandbox a", "create", "it is new\x1b[2J"),
        Change("sandbox b", "replace", "x", (FieldChange("template", "a", "b", "replace", "y"),), loses_disk=True),
    ),
    orphans=(SandboxId("shop", "old"),),
    diagnostics=(error("S", "d"),),
)


def console(color):
    return Console(io.StringIO(), io.StringIO(), io.StringIO(), color)


def test_the_text_is_the_same_with_and_without_colour():
    plain, colored = render_plan(PLAN, console(False)), render_plan(PLAN, console(True))
    assert "\x1b" not in plain
    for code in ("\x1b[32m", "\x1b[1;31m", "\x1b[33m", "\x1b[0m"):
        assert code in colored
        colored = colored.replace(code, "")
    assert colored == plain
    assert "DISK IS LOST" in plain
    assert "orphan" in plain


def test_json_has_changes_orphans_and_what_is_refused():
    told = json.loads(json.dumps(plan_object(PLAN)))
    assert told["changes"][1]["loses_disk"] is True
    assert told["orphans"] == ["shop/old"]
    assert told["diagnostics"][0]["summary"] == "S"
