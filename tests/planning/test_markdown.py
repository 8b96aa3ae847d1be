"""A plan as a comment: what it shows, and that nothing of a file becomes markup."""

import re
from dataclasses import replace
from html import unescape

import pytest

from sandboxfile.diagnostics import error, warning
from sandboxfile.model.desired import FileContent
from sandboxfile.model.plan import Change, FieldChange, Plan, Shift
from sandboxfile.names import SandboxId
from sandboxfile.planning.markdown import LIMIT, code, fenced, to_markdown
from sandboxfile.planning.trusting import Doubt

FIELD = FieldChange("env.A", None, "(new value)", "live", "for processes started from now on")
REPLACED = Change("sandbox web", "replace", "template changed", (FIELD,), True, ("web can now reach a.example:443",))
CREATED = Change("sandbox db", "create", "it is in the file and does not exist")
PLAN = Plan("shop", "f", (REPLACED, CREATED), orphans=(SandboxId("shop", "old"),))
HOSTILE = [
    "a | b",
    "`` ` ``",
    "</code></summary></details><script>alert(1)</script>",
    "@team #1 GH-1 acme/web@abcdef1",
    "[a](http://evil.example) ![a](http://evil.example/x.png) <http://evil.example> www.evil.example",
    "**a** _b_ ~~c~~ $x$ :tada:",
    "&lt;b&gt; &#64;",
    "\\| \\` \\",
    "one\n\n# two\r\n```\n> [!NOTE]",
    "\u202eesrever \x1b[31mred \u2028 \x00",
    "````````",
]


def test_it_has_a_loud_line_a_row_for_each_object_and_the_details_of_what_has_any():
    text = to_markdown(PLAN)
    lines = text.splitlines()
    assert lines[0] == "### sbx plan: <code>shop</code>"
    assert lines[2] == "> [!CAUTION]"
    assert lines[3].startswith("> **THE DISK IS LOST of 1 sandbox:**")
    assert "<code>web</code>" in lines[4]
    assert "**Plan: 1 to create, 1 to replace.**" in lines
    assert "| :bangbang: | <code>sandbox web</code> | replace | <code>template changed</code> |" in lines
    assert "|  | <code>sandbox db</code> | create | <code>it is in the file and does not exist</code> |" in lines
    assert text.count("<details>") == 1
    assert "  web can now reach a.example:443" in lines
    assert any(line.startswith("- !! THE DISK IS LOST") for line in lines)
    assert "(`--remove-orphans` deletes them): <code>old</code>" in text


def test_checkpoints_that_are_lost_are_counted():
    def said(*checkpoints):
        return to_markdown(replace(PLAN, changes=tuple(replace(REPLACED, checkpoints=count) for count in checkpoints)))

    assert "> the workspaces. <code>web" in said(0)
    assert "> the workspaces, and 1 checkpoint. <code>web" in said(1)
    assert "> the workspaces, and 3 checkpoints. <code>web" in said(1, 2)


def test_disks_that_are_kept_before_are_told_with_those_that_are_lost():
    kept = replace(REPLACED, checkpoint="before-20261121-223405")
    restarted = Change("sandbox db", "restart", "command changed", checkpoint="before-20261121-223405")
    text = unescape(to_markdown(replace(PLAN, changes=(kept, restarted))))
    assert "> Kept before as the checkpoint <code>before-20261121-223405</code>: <code>web</code>\n" in text
    assert text.count("  before that its disk is kept as the checkpoint before-20261121-223405") == 2
    assert "**Plan: 1 to restart, 1 to replace; 2 checkpoints before.**" in text
    assert "Kept before" not in to_markdown(PLAN)


def test_what_widens_comes_first_and_is_no_markup():
    shifts = (Shift("widens", "reach", "web can now reach ```evil"), Shift("tightens", "reach", "web is calm"))
    text = to_markdown(replace(PLAN, changes=(replace(REPLACED, shifts=shifts), CREATED)))
    lines = text.splitlines()
    assert lines[2:8] == [
        "#### Widens",
        "",
        "1 way to do more than before:",
        "",
        "````diff",
        "! web can now reach ```evil",
    ]
    assert text.index("Widens") < text.index("THE DISK IS LOST")
    assert "! widens: web can now reach" in text
    assert "Widens" not in to_markdown(PLAN)


def test_files_in_doubt_are_named_and_are_no_markup():
    doubts = [Doubt(FileContent(f"/shop/{number}</code>@team", "sha256:0"), "changed", "/shop") for number in range(60)]
    text = to_markdown(PLAN, doubts)
    assert "(`up --yes` refuses this plan):" in text
    assert "/shop/0</code>@team: changed, in the workspace /shop" in unescape(text)
    assert "</code>@team" not in text
    assert "> and 10 more" in text.splitlines()
    assert "refuses" not in to_markdown(PLAN)


def test_nothing_to_do_is_said():
    assert to_markdown(Plan("shop", "f")).splitlines()[-2:] == [
        "**No changes: everything is as it should be.**",
        "",
    ]


def test_a_refused_plan_says_so_and_why():
    refused = Plan("shop", "f", (REPLACED,), diagnostics=(error("Protected sandbox", "it has `protect: true`"),))
    text = to_markdown(replace(refused, diagnostics=(*refused.diagnostics, warning("Missing secret", "x"))))
    assert "> **Refused: nothing of this will be done.**" in text
    assert "error: Protected sandbox: it has `protect: true`\nwarning: Missing secret: x" in text
    assert "Refused" not in to_markdown(replace(PLAN, diagnostics=(warning("Missing secret", "x"),)))


@pytest.mark.parametrize("text", HOSTILE)
def test_in_code_no_character_is_left_that_means_something(text):
    made = code(text)
    inner = made.removeprefix("<code>").removesuffix("</code>")
    assert re.fullmatch(r"(?:[A-Za-z0-9 ]|&#[0-9]+;)*", inner)
    shown = unescape(inner)
    assert shown.isprintable()
    assert len(shown) == len(text)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_code_block_cannot_be_ended_from_inside(text):
    first, *inside, last = fenced([text, "more"]).split("\n")
    assert (first, last) == (f"{last}diff", first.removesuffix("diff"))
    assert len(inside) == 2
    assert last not in "\n".join(inside)
    assert all(line.isprintable() for line in inside)


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_of_a_file_stands_outside_of_code(text):
    field = FieldChange(text, text, text, "replace", text)
    change = Change(f"sandbox {text}", "replace", text, (field,), True, (text,))
    made = to_markdown(Plan(text, "f", (change,), (), (SandboxId(text, text),), (warning(text, text),)))
    outside = re.sub(r"(?ms)^(`{3,})diff\n.*?\n\1$", "", made)
    outside = re.sub(r"<code>(?:[A-Za-z0-9 ]|&#[0-9]+;)*</code>", "", outside)
    plain = Change("sandbox x", "replace", "x", (FieldChange("x", "x", "x", "replace", "x"),), True, ("x",))
    usual = to_markdown(Plan("x", "f", (plain,), (), (SandboxId("x", "x"),), (warning("x", "x"),)))
    usual = re.sub(r"(?ms)^(`{3,})diff\n.*?\n\1$", "", usual)
    assert outside == re.sub(r"<code>.*?</code>", "", usual)


def test_what_is_too_long_for_a_comment_is_cut_and_says_so_and_what_is_lost_stays():
    lost = [Change(f"sandbox s{index}", "replace", "x" * 500, (FIELD,) * 20, True) for index in range(1000)]
    text = to_markdown(Plan("shop", "f", tuple(lost)))
    assert len(text) < LIMIT + 500
    assert "**THE DISK IS LOST of 1000 sandboxes:**" in text
    assert "> and 950 more" in text
    assert re.search(r"\*\d+ more rows: `sbx plan` shows all of them\.\*", text)


def test_details_that_do_not_fit_are_counted():
    many = [Change(f"sandbox s{index}", "update", "x", (FIELD,) * 20) for index in range(100)]
    text = to_markdown(Plan("shop", "f", tuple(many)))
    assert len(text) < LIMIT + 500
    [left] = re.findall(r"\*(\d+) more objects", text)
    assert text.count("<details>") + int(left) == 100
