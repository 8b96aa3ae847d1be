"""The lock against the file: what fits is pinned, what does not says in words what moved."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sandboxfile.diagnostics import Severity
from sandboxfile.model.lock import Lock, LockedTemplate, encode_lock, parse_lock
from sandboxfile.model.template import BuildStep, Origin, PlacedFile, Recipe
from sandboxfile.resolve.locking import (
    asked_of,
    carried,
    differences,
    hidden,
    lock_problems,
    lock_state,
    locked,
    pinned,
    unpinnable,
)
from sandboxfile.resolve.templates import IMAGE_FORMAT, named

A, B, CONTENT = ("sha256:" + letter * 64 for letter in "abc")
OCI = Origin("oci", "registry.example.com/team/dev:1")
NPM = BuildStep("npm", ("typescript@5.1.6",))
FILES = BuildStep("files", files=(PlacedFile("/etc/gitconfig", 0o644, A),))
RUN = BuildStep("run", command=("/bin/sh", "-c", "corepack enable"))
ASKED = named(Recipe(OCI, (NPM, FILES, RUN)))
PINS = replace(
    ASKED,
    origin=replace(OCI, digest=A),
    steps=(replace(NPM, versions=(("typescript", "5.1.6"),)), FILES, RUN),
    epoch=1_700_000_000,
)


def lock_of(recipe, name="dev", format=IMAGE_FORMAT):
    return Lock({name: LockedTemplate(hidden(recipe), CONTENT, format)})


def words(before, now):
    return [str(moved) for moved in differences("dev", before, now)]


def test_a_fitting_entry_pins_everything_it_has():
    recipe, state = locked("dev", ASKED, lock_of(PINS))
    assert state.fits
    assert recipe == named(PINS)
    assert recipe.digest != ASKED.digest
    assert state.asked == ASKED


def test_without_an_entry_nothing_is_pinned():
    for lock in (None, Lock(), lock_of(PINS, "other")):
        recipe, state = locked("dev", ASKED, lock)
        assert recipe == ASKED
        assert not state.fits
        assert state.moved == ()


def test_an_entry_that_no_longer_fits_pins_nothing():
    now = named(replace(ASKED, steps=(NPM, FILES)))
    recipe, state = locked("dev", now, lock_of(PINS))
    assert recipe == now
    assert [str(moved) for moved in state.moved] == ["dev: run: - corepack enable"]


def test_an_entry_of_another_way_of_building_does_not_fit():
    _, state = locked("dev", ASKED, lock_of(PINS, format=IMAGE_FORMAT - 1))
    assert "the way of building" in str(state.moved[0])


def test_a_digest_that_this_host_does_not_know_is_taken_from_the_lock_and_a_known_one_must_be_the_same():
    asked = Recipe(Origin("saved", "mine"))
    lock = lock_of(Recipe(Origin("saved", "mine", digest=A), epoch=5))
    assert locked("dev", asked, lock)[0].origin.digest == A
    same = replace(asked, origin=replace(asked.origin, digest=A))
    assert locked("dev", same, lock)[1].fits
    _, state = locked("dev", replace(asked, origin=replace(asked.origin, digest=B)), lock)
    assert [str(moved) for moved in state.moved] == [
        "dev: base saved:mine changed (sha256:aaaaaaaaaaaa… -> sha256:bbbbbbbbbbbb…)"
    ]


def test_where_files_lie_on_this_host_is_no_difference():
    lock = lock_of(PINS)
    moved = replace(ASKED, origin=replace(OCI, path="/elsewhere"))
    assert locked("dev", moved, lock)[1].fits


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        (
            Recipe(Origin("oci", "a:1")),
            Recipe(Origin("oci", "a:2")),
            ["base was oci:a:1, is oci:a:2"],
        ),
        (
            Recipe(Origin("tar", digest=A)),
            Recipe(Origin("tar", digest=B)),
            ["base tar changed (sha256:aaaaaaaaaaaa… -> sha256:bbbbbbbbbbbb…)"],
        ),
        (
            Recipe(Origin("debian", "trixie", packages=("git", "less"))),
            Recipe(Origin("debian", "trixie", packages=("git", "jq"))),
            ["packages.apt: - less", "packages.apt: + jq"],
        ),
        (
            Recipe(Origin("debian", "trixie", packages=("git", "jq"))),
            Recipe(Origin("debian", "trixie", packages=("jq", "git"))),
            ["order of packages.apt was git jq, is jq git"],
        ),
        (
            Recipe(Origin("debian", "trixie", versions=(("curl", "8.1"), ("git", "2")))),
            Recipe(Origin("debian", "trixie", versions=(("curl", "8.2"), ("jq", "1")))),
            ["apt curl was 8.1, is 8.2", "apt git: - 2", "apt jq: + 1"],
        ),
        (
            Recipe(Origin("dockerfile", dockerfile="Dockerfile", target="a", args=(("N", "22"), ("P", "")))),
            Recipe(Origin("dockerfile", dockerfile="b/Dockerfile", target="b", args=(("M", "1"), ("N", "24")))),
            [
                "build.dockerfile was Dockerfile, is b/Dockerfile",
                "build.target was a, is b",
                "build.args.M: + 1",
                "build.args.N was 22, is 24",
                "build.args.P: - ''",
            ],
        ),
        (
            Recipe(OCI, (NPM,)),
            Recipe(OCI, (replace(NPM, packages=("typescript@5.2.0",)),)),
            ["packages.npm: - typescript@5.1.6", "packages.npm: + typescript@5.2.0"],
        ),
        (
            Recipe(OCI, (replace(NPM, versions=(("typescript", "5.1"),)),)),
            Recipe(OCI, (replace(NPM, versions=(("typescript", "5.2"),)),)),
            ["npm typescript was 5.1, is 5.2"],
        ),
        (
            Recipe(OCI, (FILES,)),
            Recipe(OCI, (replace(FILES, files=(PlacedFile("/etc/gitconfig", 0o600, B),)),)),
            [
                "files /etc/gitconfig changed (sha256:aaaaaaaaaaaa… -> sha256:bbbbbbbbbbbb…)",
                "mode of files /etc/gitconfig was 0644, is 0600",
            ],
        ),
        (
            Recipe(OCI, (FILES,)),
            Recipe(OCI, (replace(FILES, files=(PlacedFile("/etc/motd", 0o644, A),)),)),
            ["files: - /etc/gitconfig", "files: + /etc/motd"],
        ),
        (
            Recipe(OCI, (replace(RUN, env=(("EDITOR", "vi"),)),)),
            Recipe(OCI, (replace(RUN, command=("make", "all"), user="agent", env=(("EDITOR", "vim"),)),)),
            [
                "run was corepack enable, is make all",
                "user of run make all was root, is agent",
                "env.EDITOR of run make all was vi, is vim",
            ],
        ),
        (
            Recipe(OCI, (RUN,)),
            Recipe(OCI, (NPM, RUN, FILES)),
            ["packages.npm: + typescript@5.1.6", "files: + /etc/gitconfig"],
        ),
        (Recipe(OCI, (NPM, RUN)), Recipe(OCI, (RUN,)), ["packages.npm: - typescript@5.1.6"]),
    ],
)
def test_every_field_that_moved_is_told_in_words(before, now, said):
    assert words(before, now) == [f"dev: {item}" for item in said]


# --- properties --------------------------------------------------------------------------------------------------

digests = st.sampled_from([A, B])
versions = st.dictionaries(st.sampled_from("xyz"), st.sampled_from("123"), max_size=2).map(
    lambda found: tuple(sorted(found.items()))
)
names = st.lists(st.sampled_from(["a", "b", "c"]), max_size=3).map(tuple)
pairs = st.dictionaries(st.sampled_from(["P", "Q"]), st.sampled_from(["", "1", "2"])).map(lambda d: tuple(d.items()))
origins = st.builds(
    Origin,
    st.sampled_from(["debian", "oci", "tar", "dockerfile"]),
    reference=st.sampled_from(["", "r", "s"]),
    digest=st.just("") | digests,
    packages=names,
    dockerfile=st.sampled_from(["", "d"]),
    target=st.sampled_from(["", "t"]),
    args=pairs,
)
files = st.lists(st.builds(PlacedFile, st.sampled_from(["/a", "/b"]), st.sampled_from([0o644, 0o755]), digests))
steps = st.builds(
    BuildStep,
    st.sampled_from(["apt", "npm", "pip", "files", "run"]),
    packages=names,
    files=files.map(tuple),
    command=names,
    user=st.sampled_from(["root", "agent"]),
    env=pairs,
)
recipes = st.builds(Recipe, origins, st.lists(steps, max_size=3).map(tuple)).map(named)


@st.composite
def pins(draw, recipe):
    """A build's account of a recipe: what it was made from."""
    digest = recipe.origin.digest or draw(digests)
    origin = replace(recipe.origin, digest=digest, versions=draw(versions))
    found = tuple(replace(step, versions=draw(versions)) for step in recipe.steps)
    return replace(recipe, origin=origin, steps=found, epoch=draw(st.integers(1, 1 << 33)))


@given(st.data(), recipes)
def test_a_pinned_recipe_is_pinned_to_itself(data, recipe):
    lock = lock_of(data.draw(pins(recipe)))
    lock, problems = parse_lock(encode_lock(lock))
    assert problems == ()
    once, state = locked("dev", recipe, lock)
    assert state.fits, state.moved
    assert locked("dev", once, lock) == (once, replace(state, asked=once))
    assert asked_of(once, recipe.origin) == asked_of(recipe)
    assert once.digest == named(once).digest != recipe.digest
    assert carried(recipe, lock.templates["dev"].recipe) == once


@given(st.data(), recipes, recipes)
def test_a_lock_fits_what_it_was_made_for_and_nothing_else_without_saying_what_moved(data, before, now):
    _, state = locked("dev", now, lock_of(data.draw(pins(before))))
    assert state.fits != bool(state.moved)
    old, new = asked_of(hidden(before), now.origin), asked_of(hidden(now))
    assert not state.fits or (old.origin.reference, len(old.steps)) == (new.origin.reference, len(new.steps))
    said = [str(moved) for moved in state.moved]
    assert len(said) == len(set(said))


@given(st.data(), recipes, recipes)
def test_pins_that_are_carried_over_never_change_what_is_asked_for(data, before, now):
    assume(before != now)
    result = carried(now, hidden(data.draw(pins(before))))
    assert asked_of(result, now.origin) == asked_of(now)


# --- the whole state ---------------------------------------------------------------------------------------------

TWO = """\
templates:
  dev: {base: debian:bookworm, packages: {apt: [git]}}
  other: {base: debian:trixie}
sandboxes:
  web: {template: dev}
  db: {}
"""


def pinned_by(state, *templates):
    """A lock of some templates of a state."""
    return Lock(
        {
            item.name: LockedTemplate(hidden(replace(item.recipe, epoch=7)), CONTENT, IMAGE_FORMAT)
            for item in state.templates
            if item.name in templates
        }
    )


def test_templates_and_the_sandboxes_of_them_are_pinned_alike(host):
    before = host.state(TWO)
    after, states = lock_state(before, pinned_by(before, "dev"))
    assert {state.template: state.fits for state in states} == {"dev": True, "other": False, "shell": False}
    templates = {item.name: item for item in after.templates}
    assert (templates["dev"].locked, templates["dev"].content) == (True, CONTENT)
    assert not templates["other"].locked
    assert templates["dev"].recipe.epoch == 7
    assert {item.image.digest for item in after.sandboxes} <= {item.recipe.digest for item in after.templates}
    assert [item.image.title for item in after.sandboxes] == [item.image.title for item in before.sandboxes]
    assert lock_state(before, None)[0] == before


def test_a_result_is_held_to_the_lock_only_when_frozen_and_only_where_it_can_be():
    assert unpinnable(ASKED) == ("run corepack enable",)
    assert unpinnable(replace(ASKED, steps=(NPM, FILES))) == ()
    assert len(unpinnable(Recipe(Origin("dockerfile", digest=A)))) == 1


def problems(host, text, lock, name="sandbox.lock", frozen=()):
    file, _ = host.inputs(text)
    _, states = lock_state(host.state(text), lock)
    return lock_problems(states, file, name if lock else "", frozen)


def test_without_a_lock_nobody_is_told_but_who_asked_for_it(host):
    assert problems(host, TWO, None) == ()
    (problem,) = problems(host, TWO, None, frozen=("dev", "shell"))
    assert problem.severity is Severity.ERROR
    assert "`dev`, `shell`" in problem.detail
    assert "sbx template lock" in problem.hint


def test_each_template_that_does_not_stand_as_locked_is_told_with_its_place(host):
    lock = pinned_by(host.state(TWO.replace("[git]", "[git, jq]")), "dev", "other")
    moved, missing = problems(host, TWO, lock, frozen=("dev",))
    assert (moved.severity, moved.summary, moved.span.line) == (Severity.ERROR, "Lock does not fit", 2)
    assert "packages.apt: - jq" in moved.detail
    assert (missing.severity, missing.summary, missing.span.line) == (Severity.WARNING, "Not locked", 6)


def test_a_lock_that_fits_is_not_talked_about(host):
    lock = pinned_by(host.state(TWO), "dev", "other", "shell")
    assert problems(host, TWO, lock, frozen=("dev", "shell")) == ()


def test_values_of_build_arguments_are_not_in_a_lock():
    recipe = Recipe(Origin("dockerfile", args=(("TOKEN", "hunter2"),)), epoch=5)
    lock = lock_of(recipe)
    assert "hunter2" not in encode_lock(lock)
    assert locked("dev", recipe, lock)[1].fits
    now = replace(recipe, origin=replace(recipe.origin, args=(("TOKEN", "hunter3"),)))
    _, state = locked("dev", now, lock)
    assert "build.args.TOKEN changed (sha256:" in str(state.moved[0])
    assert pinned(recipe, lock.templates["dev"].recipe).origin.args == recipe.origin.args
