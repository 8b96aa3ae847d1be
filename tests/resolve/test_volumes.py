"""Volumes of a file, and where its sandboxes have them."""

import pytest

from sandboxfile.model.desired import Mount, Volume
from sandboxfile.names import VolumeId

GIB = 1 << 30


def test_volumes_have_a_size_in_whole_mebibytes_and_are_sorted_and_all_there_used_or_not(host):
    text = "name: shop\nvolumes: {z: {size: 1.1GiB}, a: , m: {}}\nsandboxes: {web: {}}"
    state = host.state(text)
    assert state.volumes == (
        Volume(VolumeId("shop", "a"), 10 * GIB),
        Volume(VolumeId("shop", "m"), 10 * GIB),
        Volume(VolumeId("shop", "z"), 1127 << 20),
    )


def test_mounts_are_those_of_the_sandbox_over_those_of_the_defaults_by_target(host):
    text = (
        "volumes: {a: , b: , c: }\ndefaults: {volumes: ['a:/x/', 'b:/y']}\n"
        "sandboxes: {web: {volumes: [{volume: c, target: /x//.}]}}"
    )
    assert host.only(text).mounts == (Mount("/x", "c"), Mount("/y", "b"))


def test_one_sandbox_has_a_volume_and_at_one_place(host):
    twice = "volumes: {a: }\nsandboxes: {web: {volumes: ['a:/x', 'a:/y']}}"
    assert host.summaries(twice) == ["Volume used twice"]
    shared = "volumes: {a: }\ndefaults: {volumes: ['a:/x']}\nsandboxes: {web: {}, db: {}, worker: {}}"
    assert host.summaries(shared) == ["Volume used twice"]  # in one place of the file, and said once


@pytest.mark.parametrize(
    "target", ["/proc/x", "/sys", "/dev/shm", "/run/x", "/var/run", "/etc", "/usr/bin", "/home", "/var/lib/docker"]
)
def test_what_would_hide_the_sandboxes_own_system_is_refused(host, target):
    assert host.summaries(f"volumes: {{a: }}\nsandboxes: {{web: {{volumes: ['a:{target}']}}}}") == ["Unsafe target"]


@pytest.mark.parametrize("target", ["/data", "/home/agent", "/var/lib/postgresql", "/opt", "/srv/x"])
def test_other_places_are_fine(host, target):
    assert host.summaries(f"volumes: {{a: }}\nsandboxes: {{web: {{volumes: ['a:{target}']}}}}") == []


@pytest.mark.parametrize(
    ("workspace", "target", "expected"),
    [
        (".:/src", "/src", ["Duplicate target"]),
        (".:/src/app", "/src", ["Nested targets"]),
        (".:/src", "/src/node_modules", []),
        (".:/src:ro", "/src/node_modules", ["Nested targets"]),
        (".:/src", "/srcs", []),
    ],
)
def test_a_volume_lies_beside_workspaces_or_inside_one_that_can_be_written(host, workspace, target, expected):
    text = f"volumes: {{a: }}\nsandboxes: {{web: {{workspaces: ['{workspace}'], volumes: ['a:{target}']}}}}"
    assert host.summaries(text) == expected


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [("/a", "/a", "Duplicate target"), ("/a", "/a/b", "Nested targets"), ("/a/b", "/a", "Nested targets")],
)
def test_volumes_lie_beside_each_other(host, one, other, expected):
    text = f"volumes: {{a: , b: }}\nsandboxes: {{web: {{volumes: ['a:{one}', 'b:{other}']}}}}"
    assert host.summaries(text) == [expected]
