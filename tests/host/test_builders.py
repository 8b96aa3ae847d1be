"""Which programs build images here, and what they have under a name; with programs that misbehave in their places."""

import os
import shutil
import time

import pytest

from sandboxfile.host import builders
from sandboxfile.host.builders import CHOICE, Builder, LocalImage, find_builder, local_image, local_image_id

ID = "a" * 64


@pytest.fixture
def programs(tmp_path):
    """`programs(buildah=SCRIPT, ...)`: an environment whose PATH has just these."""
    directory = tmp_path / "bin"
    directory.mkdir()

    def make(**scripts: str) -> dict[str, str]:
        for name, script in scripts.items():
            (directory / name).write_text(f"#!{shutil.which('sh')}\n{script}\n")
            (directory / name).chmod(0o755)
        return {"PATH": str(directory)}

    return make


def test_the_real_buildah_is_found_first():
    found = find_builder({"PATH": os.environ["PATH"]})
    assert found is not None
    assert found.name == "buildah"
    assert found.version[0].isdigit()
    assert found.path.is_absolute()


def test_the_first_that_works_is_taken_in_a_fixed_order(programs, tmp_path):
    environ = programs(podman="echo podman version 4.3.1", docker="echo 28.2.2")
    assert find_builder(environ) == Builder("podman", tmp_path / "bin/podman", "4.3.1")
    assert find_builder(programs(buildah="echo 'buildah version 1.28.2 (image-spec 1.1)'")).version == "1.28.2"
    assert find_builder(programs(buildah="exit 1")).name == "podman"


def test_the_user_chooses(programs):
    environ = programs(buildah="echo version 1.28.2", podman="echo version 4.3.1")
    assert find_builder({**environ, CHOICE: "podman"}).name == "podman"
    assert find_builder({**environ, CHOICE: "docker"}) is None
    assert find_builder({**environ, CHOICE: "kaniko"}) is None
    assert find_builder({**environ, CHOICE: ""}).name == "buildah"


def test_docker_counts_only_with_its_daemon(programs):
    script = '[ "$1" = version ] || exit 9; echo "Cannot connect to the Docker daemon" >&2; exit 1'
    assert find_builder(programs(docker=script)) is None


def test_a_host_without_any_has_none(programs):
    assert find_builder(programs()) is None
    assert local_image("a", programs()) is None


def test_an_image_has_the_same_id_whichever_way_a_program_writes_it(programs):
    assert local_image("a:1", programs(docker=f"echo sha256:{ID}")) == LocalImage("docker", f"sha256:{ID}")
    assert local_image("a:1", programs(podman=f"echo {ID}")) == LocalImage("podman", f"sha256:{ID}")


def test_the_next_program_is_asked_when_one_has_no_such_image(programs):
    assert local_image("a", programs(buildah="exit 125", docker=f"echo sha256:{ID}")).engine == "docker"


def test_one_of_two_programs_with_one_store_is_asked(programs):
    assert local_image("a", programs(buildah="exit 125", podman=f"echo {ID}")) is None


@pytest.mark.parametrize("answer", ["", "<no value>", "sha256:abc", f"{ID}\n{ID}", f"{ID} more"])
def test_an_answer_that_is_no_id_is_none(answer, programs):
    assert local_image("a", programs(podman=f"printf '%s' '{answer}'")) is None


def test_a_program_that_hangs_costs_a_bounded_time(programs, monkeypatch):
    monkeypatch.setattr(builders, "SECONDS", 0.3)
    environ = programs(buildah=f"exec {shutil.which('sleep')} 60", docker=f"exec {shutil.which('sleep')} 60")
    begun = time.monotonic()
    assert local_image("a", environ) is None
    assert find_builder(environ) is None
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("name", ["", "-h", "--help", "a\0b", "x" * 200_000, "no such thing", "../a", "sha256:" + ID])
def test_no_name_makes_it_fail(name):
    assert local_image_id(name) is None


def test_a_name_is_no_option(programs, tmp_path):
    marker = tmp_path / "options"
    environ = programs(podman=f'printf "%s\\n" "$@" >{marker}; exit 1')
    local_image("--format=evil", environ)
    assert marker.read_text().splitlines()[-2:] == ["--", "--format=evil"]


def test_a_program_gets_no_input_of_ours(programs):
    assert local_image("a", programs(podman=f"read -r line; echo {ID}")) == LocalImage("podman", f"sha256:{ID}")
