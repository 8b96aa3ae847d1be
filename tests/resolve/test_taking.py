"""Variables that `${...}` brought into sandboxes: all that show inside, and none that was not asked for."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from sandboxfile.language.document import parse
from sandboxfile.language.interpolate import interpolate, scalars
from sandboxfile.model.desired import Command, DesiredSandbox, DesiredState, Healthcheck, Image
from sandboxfile.model.template import BuildStep, DesiredTemplate, Origin, Recipe
from sandboxfile.names import SandboxId
from sandboxfile.resolve.taking import Asked, with_variables

PLAIN = DesiredSandbox(SandboxId("shop", "web"), "shell", Image("d"))
VALUES = {"A": "hunter2", "B": "other", "EMPTY": ""}
WORDS = "A of the environment of sbx"


def taken(spec, names=("A", "B", "EMPTY", "UNSET"), environment=VALUES, templates=()):
    asked = Asked(VALUES, set(names))
    state = with_variables(DesiredState("shop", "/f", (spec,), templates), asked, environment)
    return state.sandboxes[0].taken


def test_what_shows_inside_is_taken():
    for fields in (
        {"env": (("X", "a-hunter2-b"),)},
        {"setup": (Command(("sh", "-c", "echo hunter2")),)},
        {"command": Command(("hunter2",))},
        {"healthcheck": Healthcheck(Command(("curl", "?hunter2")))},
    ):
        assert taken(replace(PLAIN, **fields)) == (WORDS,)


def test_what_is_in_the_image_is_taken_too():
    step = BuildStep("run", command=("sh", "-c", "hunter2"))
    built = DesiredTemplate("shell", Recipe(Origin("debian"), (step,), digest="d"))
    arguments = DesiredTemplate("shell", Recipe(Origin("dockerfile", args=(("A", "hunter2"),)), digest="d"))
    assert taken(PLAIN, templates=(built,)) == taken(PLAIN, templates=(arguments,)) == (WORDS,)
    assert taken(replace(PLAIN, image=Image("e")), templates=(built,)) == ()


def test_what_nobody_asked_for_is_not():
    spec = replace(PLAIN, env=(("X", "hunter2"),))
    assert taken(spec, names=("B",)) == ()
    assert taken(replace(spec, taken=(WORDS,))) == (WORDS,)
    assert taken(spec, environment={}) == ("A of .env",)


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
    assert with_variables(state, asked, {"A": value}).sandboxes[0].taken == (WORDS,)
    assert asked.names == {"A"}
