"""`sbx network proxy`: the last word about a pattern counts, and the file's own rules are never touched."""

import pytest

from sandboxfile.model.policy import COMMAND, Policy, Request
from sandboxfile.policy.command import PolicyEdit, command_edit, edited
from sandboxfile.policy.compiled import compile_policy


@pytest.fixture
def written(layer):
    team = layer("policy team", "allow", enforced=True)
    return Policy((team, layer(allow=["api.example.com"], block=["ads.example.com"])), settings=(("A", "b"),))


def allows(policy, host):
    return compile_policy(policy).decide(Request(host, 443), None, "2026-11-21").allowed


def test_rules_of_the_command_stand_beside_those_of_the_file(written):
    changed = edited(written, PolicyEdit("allow", ("new.example.com",), ("bad.example.com",), ("203.0.113.0/24",)))
    assert changed.layers[0] == written.layers[0]
    assert changed.settings == written.settings
    assert changed.own.mode == "allow"
    assert [(rule.pattern, rule.origin) for rule in changed.own.allow] == [
        ("api.example.com", ""),
        ("new.example.com", COMMAND),
    ]
    assert [rule.pattern for rule in changed.own.block] == ["ads.example.com", "bad.example.com"]
    assert [rule.pattern for rule in changed.own.bypass] == ["203.0.113.0/24"]
    assert allows(changed, "new.example.com")
    assert not allows(changed, "bad.example.com")


@pytest.mark.parametrize(
    "edit",
    [
        PolicyEdit(),
        PolicyEdit("allow"),
        PolicyEdit(None, ("a.example.com", "a.example.com"), ("b.example.com",), ("c.example.com",)),
        PolicyEdit("deny", ("x.example.com",), ("x.example.com",)),
        PolicyEdit(None, ("api.example.com",), ("ads.example.com",)),
    ],
)
def test_the_same_command_again_changes_nothing(written, edit):
    once = edited(written, edit)
    assert edited(once, edit) == once


def test_nothing_asked_changes_nothing(written):
    assert PolicyEdit().empty
    assert edited(written, PolicyEdit()) == written


def test_the_last_word_about_a_pattern_counts(written):
    first = edited(written, PolicyEdit(allow=("x.example.com", "y.example.com")))
    second = edited(first, PolicyEdit(block=("x.example.com",)))
    third = edited(second, PolicyEdit(allow=("x.example.com",)))
    assert [allows(each, "x.example.com") for each in (first, second, third)] == [True, False, True]
    assert command_edit(second) == PolicyEdit(None, ("y.example.com",), ("x.example.com",))
    assert command_edit(third) == PolicyEdit(None, ("y.example.com", "x.example.com"))


def test_what_one_command_allows_and_blocks_is_blocked(written):
    changed = edited(written, PolicyEdit(None, ("x.example.com",), ("x.example.com",)))
    assert command_edit(changed) == PolicyEdit(block=("x.example.com",))


def test_a_block_of_the_file_stays(written):
    changed = edited(written, PolicyEdit(allow=("ads.example.com",)))
    assert [rule.pattern for rule in changed.own.block] == ["ads.example.com"]
    assert not allows(changed, "ads.example.com")


def test_what_came_from_the_command_can_be_taken_out_again(written):
    assert command_edit(written, written) is None
    edit = PolicyEdit("allow", ("a.example.com",), ("b.example.com",), ("c.example.com",))
    changed = edited(written, edit)
    assert command_edit(changed, written) == edit
    assert command_edit(changed) == PolicyEdit(None, edit.allow, edit.block, edit.bypass)
    assert edited(written, command_edit(changed, written)) == changed
