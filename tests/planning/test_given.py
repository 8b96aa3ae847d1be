"""Variables of this host in one line; nothing of them is left out."""

from hypothesis import given
from hypothesis import strategies as st

from sandboxfile.model.desired import DesiredSandbox, Image
from sandboxfile.names import SandboxId
from sandboxfile.planning.changes import given_to
from sandboxfile.planning.given import told_together
from sandboxfile.planning.widening import shifts

SOMEHOW = "what the files make of "
HERE = "the environment of sbx"
TAKEN = (f"{SOMEHOW}A of .env", "C of .env", f"{SOMEHOW}B of .env", f"{SOMEHOW}D of {HERE}", "/s/web.env")
TOGETHER = (f"{SOMEHOW}A, B of .env", "C of .env", f"{SOMEHOW}D of {HERE}", "/s/web.env")


def sandbox(*taken):
    return DesiredSandbox(SandboxId("shop", "web"), "shell", Image("d"), taken=taken)


def test_what_comes_the_same_way_is_one_line():
    assert told_together(TAKEN) == TOGETHER
    assert given_to(sandbox(*TAKEN)) == tuple(f"is given {each}" for each in TOGETHER)


def test_what_is_new_is_told_and_what_was_given_before_is_not():
    found = shifts(sandbox("A of .env", "Z of .env", "Y of .env"), sandbox("A of .env", "B of .env", "C of .env"))
    assert [(each.direction, each.text) for each in found] == [
        ("widens", "web is given B, C of .env"),
        ("tightens", "web is no longer given Z, Y of .env"),
    ]


@given(
    st.lists(
        st.tuples(st.sampled_from(["", SOMEHOW]), st.from_regex(r"\A[A-Z_]{1,4}\Z"), st.sampled_from([".env", HERE]))
    )
)
def test_nothing_is_left_out(entries):
    said = told_together(f"{how}{name} of {place}" for how, name, place in entries)
    for how, name, place in entries:
        line = next(each for each in said if each.startswith(SOMEHOW) == bool(how) and each.endswith(f" of {place}"))
        assert name in line.removeprefix(SOMEHOW).removesuffix(f" of {place}").split(", ")
