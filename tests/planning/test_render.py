"""The stable surface of a plan: its JSON, and its text for sizes and names."""

import json
from dataclasses import replace

from sandboxfile.model.plan import BuildImage, Change, FieldChange, Plan, Shift, Step
from sandboxfile.model.template import DesiredTemplate, Origin, Recipe
from sandboxfile.names import SandboxId
from sandboxfile.planning.render import render, to_json

PLAN = Plan(
    "shop",
    "f",
    (
        Change(
            "sandbox web",
            "replace",
            "template changed",
            (FieldChange("template", None, "b", "replace", "r"),),
            True,
            checkpoints=2,
            checkpoint="before-20261121-223405",
        ),
        Change("sandbox api", "update", "x", reach=("api can now reach api.example.com:443",)),
    ),
    (
        Step(
            "build image b",
            BuildImage(DesiredTemplate("shell", Recipe(Origin("debian", "trixie")))),
            "why",
            ("prepare platform",),
        ),
    ),
    (SandboxId("shop", "old"),),
)
WIDER = Change(
    "sandbox api",
    "update",
    "policy changed",
    reach=("api can now reach a.example.com", "api can no longer reach b.example.com"),
    shifts=(
        Shift("widens", "reach", "api can now reach a.example.com [sandbox.yaml:3:9]"),
        Shift("tightens", "reach", "api can no longer reach b.example.com"),
    ),
)


def test_json_has_every_part_of_a_plan_and_a_version():
    assert json.loads(json.dumps(to_json(PLAN))) == {
        "version": 1,
        "project": "shop",
        "changes": [
            {
                "subject": "sandbox web",
                "action": "replace",
                "cause": "template changed",
                "loses_disk": True,
                "loses_checkpoints": 2,
                "checkpoint": "before-20261121-223405",
                "fields": [{"path": "template", "before": None, "after": "b", "effect": "replace", "reason": "r"}],
                "reach": [],
                "widens": [],
                "tightens": [],
            },
            {
                "subject": "sandbox api",
                "action": "update",
                "cause": "x",
                "loses_disk": False,
                "loses_checkpoints": 0,
                "checkpoint": None,
                "fields": [],
                "reach": ["api can now reach api.example.com:443"],
                "widens": [],
                "tightens": [],
            },
        ],
        "steps": [{"key": "build image b", "reason": "why", "needs": ["prepare platform"]}],
        "orphans": ["shop/old"],
        "widens": False,
    }


def test_what_widens_is_marked_and_said_once():
    assert render(Plan("shop", "f", (WIDER,))).splitlines()[1:3] == [
        "      ! widens: api can now reach a.example.com [sandbox.yaml:3:9]",
        "      api can no longer reach b.example.com",
    ]
    many = tuple(Shift("widens", "reach", f"api can now reach {number}.example.com") for number in range(25))
    lines = render(Plan("shop", "f", (replace(WIDER, shifts=many, reach=()),))).splitlines()
    assert lines[20:22] == [
        "      ! widens: api can now reach 19.example.com",
        "      ! widens: 5 more (--format json has all)",
    ]


def test_json_has_what_widens_and_what_tightens():
    told = to_json(Plan("shop", "f", (WIDER,)))
    assert told["widens"] is True
    assert told["changes"][0]["widens"] == [
        {"kind": "reach", "text": "api can now reach a.example.com [sandbox.yaml:3:9]"}
    ]
    assert told["changes"][0]["tightens"] == [{"kind": "reach", "text": "api can no longer reach b.example.com"}]


def test_the_text_shows_losses_loudly_and_counts():
    lines = render(PLAN).splitlines()
    assert lines[0] == "-/+ sandbox web: replace (template changed)"
    assert lines[1] == "      template: (none) -> b (replace: r)"
    assert "THE DISK IS LOST" in lines[2]
    assert lines[4] == "      before that its disk is kept as the checkpoint before-20261121-223405"
    assert lines[-1] == "Plan: 1 to update, 1 to replace; 1 checkpoint before."


def test_reach_is_told_in_words_and_a_long_list_is_counted():
    assert "      api can now reach api.example.com:443" in render(PLAN).splitlines()
    many = tuple(f"web can reach host{number}.example.com" for number in range(100))
    lines = render(Plan("shop", "f", (Change("sandbox web", "create", "x", reach=many),))).splitlines()
    assert len(lines) < 30
    assert any("and 80 more" in line for line in lines)
