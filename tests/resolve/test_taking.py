"""Variables that `${...}` brought into sandboxes: all that were asked for, and none other."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from sandboxfile.language.document import parse
from sandboxfile.language.interpolate import interpolate, scalars
from sandboxfile.model.desired import (
    Command,
    DesiredSandbox,
    DesiredState,
    FromHost,
    Healthcheck,
    Image,
    Mount,
    Workspace,
)
from sandboxfile.model.policy import Layer, Policy, Rule
from sandboxfile.model.template import BuildStep, DesiredTemplate, Origin, Recipe
from sandboxfile.names import SandboxId
from sandboxfile.planning import widening
from sandboxfile.resolve.taking import Asked, with_variables

PLAIN = DesiredSandbox(SandboxId("shop", "web"), "shell", Image("d"))
VALUES = {"A": "hunter2", "B": "other", "EMPTY": ""}
ITSELF = FromHost("environment", "A")
SOMEHOW = FromHost("environment", "A", derived=True)


def taken(spec, names=("A", "EMPTY", "UNSET"), environment=VALUES, templates=()):
    asked = Asked(VALUES, set(names))
    state = with_variables(DesiredState("shop", "/f", (spec,), templates), asked, environment)
    return state.sandboxes[0].from_host


def test_what_shows_inside_is_taken():
    for fields in (
        {"env": (("X", "a-hunter2-b"),)},
        {"setup": (Command(("sh", "-c", "echo hunter2")),)},
        {"command": Command(("hunter2",))},
        {"healthcheck": Healthcheck(Command(("curl", "?hunter2")))},
        {"workspaces": (Workspace("/s", "/work/hunter2"),)},
        {"mounts": (Mount("/data/hunter2", "v"),)},
        {"policy": Policy((Layer("p", block=(Rule("x.example.com", reason="hunter2"),)),))},
    ):
        assert taken(replace(PLAIN, **fields)) == (ITSELF,)


def test_what_comes_in_unseen_is_taken_by_every_sandbox():
    """In lower case, as a number, in a path made shorter, as the condition of a word: nobody can tell."""
    assert taken(replace(PLAIN, env=(("X", "HUNTER2"),))) == taken(PLAIN) == (SOMEHOW,)


def test_a_variable_of_one_sandbox_that_another_one_is_given_is_new_to_that():
    asked, web = Asked(VALUES, {"A"}), replace(PLAIN, env=(("X", "hunter2"),))
    other = replace(PLAIN, id=SandboxId("shop", "other"))
    before = with_variables(DesiredState("shop", "/f", (web, other)), asked, VALUES)
    assert [spec.from_host for spec in before.sandboxes] == [(ITSELF,), (SOMEHOW,)]
    after = with_variables(DesiredState("shop", "/f", (web, replace(other, env=web.env))), asked, VALUES)
    assert after.sandboxes[1].from_host == (ITSELF,)
    assert [each.text for each in widening.shifts(before.sandboxes[1], after.sandboxes[1])] == [
        "other is given A of the environment of sbx",
        "other is no longer given what the files make of A of the environment of sbx",
    ]


def test_what_is_in_the_image_is_taken_too():
    step = BuildStep("run", command=("sh", "-c", "hunter2"))
    built = DesiredTemplate("shell", Recipe(Origin("debian"), (step,), digest="d"))
    arguments = DesiredTemplate("shell", Recipe(Origin("dockerfile", args=(("A", "hunter2"),)), digest="d"))
    assert taken(PLAIN, templates=(built,)) == taken(PLAIN, templates=(arguments,)) == (ITSELF,)
    pulled = DesiredTemplate("shell", Recipe(Origin("oci", "registry.example/x:hunter2"), digest="d"))
    assert taken(PLAIN, templates=(pulled,)) == (ITSELF,)
    assert taken(replace(PLAIN, image=Image("e")), templates=(built,)) == (SOMEHOW,)


def test_what_nobody_asked_for_is_not():
    spec = replace(PLAIN, env=(("X", "hunter2"),))
    assert taken(spec, names=()) == taken(spec, names=("EMPTY", "UNSET")) == ()
    assert taken(replace(spec, from_host=(ITSELF,))) == (ITSELF,)
    assert taken(spec, environment={}) == (FromHost(".env", "A"),)


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=20),
    st.text("ab", max_size=3),
)
def test_an_interpolated_value_is_found_again(value, around):
    document, _ = parse(f'x: "{around}${{A}}{around}"\n', "f")
    asked = Asked({"A": value, "B": "b"})
    done, _ = interpolate(document, asked)
    [(_, scalar)] = scalars(done.root, ())
    state = DesiredState("shop", "/f", (replace(PLAIN, env=(("X", scalar.value),)),))
    assert with_variables(state, asked, {"A": value}).sandboxes[0].from_host == (ITSELF,)
    assert asked.names == {"A"}
