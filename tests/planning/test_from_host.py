"""Variables of this host in one line; nothing of them is left out."""

from hypothesis import given
from hypothesis import strategies as st

from sandboxfile.model.desired import DesiredSandbox, FromHost, Image
from sandboxfile.names import SandboxId
from sandboxfile.planning.changes import given_to, told_together
from sandboxfile.planning.widening import shifts

SOMEHOW = "what the files make of "
TAKEN = (
    FromHost(".env", "A", derived=True),
    FromHost(".env", "C"),
    FromHost(".env", "B", derived=True),
    FromHost("environment", "D", derived=True),
    FromHost("/s/web.env"),
)
TOGETHER = (
    f"{SOMEHOW}A, B of .env",
    "C of .env",
    f"{SOMEHOW}D of the environment of sbx",
    "the variables of /s/web.env",
)


def sandbox(*taken):
    return DesiredSandbox(SandboxId("shop", "web"), "shell", Image("d"), from_host=taken)


def test_what_comes_the_same_way_is_one_line():
    assert told_together(TAKEN) == TOGETHER
    assert given_to(sandbox(*TAKEN)) == tuple(f"is given {each}" for each in TOGETHER)


def test_what_is_new_is_told_and_what_was_given_before_is_not():
    a, b, c, y, z = (FromHost(".env", name) for name in "ABCYZ")
    found = shifts(sandbox(a, z, y), sandbox(a, b, c))
    assert [(each.direction, each.text) for each in found] == [
        ("widens", "web is given B, C of .env"),
        ("tightens", "web is no longer given Z, Y of .env"),
    ]


@given(st.lists(st.builds(FromHost, st.sampled_from([".env", "environment"]), st.from_regex(r"\A[A-Z_]{1,4}\Z"))))
def test_nothing_is_left_out(entries):
    told = dict(reversed(line.split(" of ", 1)) for line in told_together(entries))
    for each in entries:
        place = "the environment of sbx" if each.place == "environment" else each.place
        assert each.name in told[place].split(", ")
