"""What is said about policies beyond the golden cases: which names count, and files that are hostile."""

import pytest

from sandboxfile.language.validate import load, load_policies
from sandboxfile.model.spec import EXTENDS_LIMIT


def summaries(text: str, known: tuple[str, ...] = ()) -> list[str]:
    return [problem.summary for problem in load(text, "f", known)[2]]


def test_policies_of_the_host_are_known() -> None:
    text = "policies: {p: {extends: corp}}\nsandboxes: {web: {policy: mine}}"
    assert summaries(text, ("corp", "mine")) == []
    assert summaries(text, ("corp",)) == ["Unknown policy"]


def test_a_policy_with_an_error_is_still_known() -> None:
    assert summaries("policies: {p: {nope: 1}}\nsandboxes: {a: {policy: p}}") == ["Unknown field"]
    assert summaries("policies: {p: [], q: {extends: p}}\nsandboxes: {a: {policy: p}}") == ["Wrong type"]


def test_names_of_policies_beginning_with_x_are_names() -> None:
    assert summaries("policies: {x-p: {allow: ['${HOST?}']}}\nsandboxes: {}") == ["Variable required"]


def test_a_wrong_rule_is_left_out_as_a_whole() -> None:
    """Half a rule would be another rule: with its host, without its methods."""
    rules = "{host: a.example.com, methods: ['/']}, b.example.com"
    file, _, problems = load(f"policies: {{p: {{allow: [{rules}]}}}}\nsandboxes: {{}}", "f")
    assert len(problems) == 1
    assert file is not None
    assert not file.whole
    assert [rule.host for rule in file.policies["p"].allow] == ["b.example.com"]


def test_bypass_of_another_port_or_host_of_a_judged_one_is_fine() -> None:
    rules = "allow: [{host: 'a.example.com:443', methods: [GET]}], bypass: [a.example.com:8443, '*.example.com']"
    assert summaries(f"policies: {{p: {{{rules}}}}}\nsandboxes: {{}}") == []


def test_a_blocked_pattern_with_conditions_contradicts_nothing() -> None:
    rules = "allow: [a.example.com], block: [{host: a.example.com, paths: [/x/**]}]"
    assert summaries(f"policies: {{p: {{{rules}}}}}\nsandboxes: {{}}") == []


@pytest.mark.parametrize("field", ["port: 443", "methods: [GET]", "paths: [/a]", "protocol: http"])
def test_a_preset_takes_no_field_of_a_host(field: str) -> None:
    assert summaries(f"policies: {{p: {{allow: [{{preset: apt, {field}}}]}}}}\nsandboxes: {{}}") == [
        "Field not applicable"
    ]


def test_a_tower_of_policies_has_a_limit() -> None:
    def tower(floors: int) -> str:
        rest = "".join(f", p{n}: {{extends: p{n - 1}}}" for n in range(1, floors))
        return f"policies: {{p0: {{}}{rest}}}\nsandboxes: {{}}"

    assert summaries(tower(EXTENDS_LIMIT)) == []
    assert summaries(tower(EXTENDS_LIMIT + 1)) == ["Nested too deeply"]
    assert summaries(tower(4000)) == ["Nested too deeply"]


def test_a_circle_of_thousands_is_told_in_a_line() -> None:
    text = "policies:\n" + "".join(f"  p{n}: {{extends: p{(n + 1) % 4000}}}\n" for n in range(4000)) + "sandboxes: {}\n"
    problems = [problem for problem in load(text, "f")[2] if problem.summary == "Policy cycle"]
    assert len(problems) == 1
    assert len(problems[0].detail) < 200


def test_a_policy_file_has_policies_only() -> None:
    file, problems = load_policies("policies: {p: {extends: corp, allow: [a.example.com]}}", "f", ("corp",))
    assert problems == ()
    assert file is not None
    assert file.whole
    file, problems = load_policies("policies: {}\nsandboxes: {}", "f")
    assert [problem.summary for problem in problems] == ["Unknown field"]
    assert file is not None
    assert not file.whole
    assert load_policies("[]", "f")[0] is None
    assert load_policies("a: [", "f")[0] is None


def test_only_who_may_chooses_the_default_policy() -> None:
    text = "default_policy: p\npolicies: {p: {}}"
    assert load_policies(text, "f", may_choose=True)[1] == ()
    assert [problem.summary for problem in load_policies(text, "f")[1]] == ["Field not applicable"]
