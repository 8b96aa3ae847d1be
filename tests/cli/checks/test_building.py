"""What doctor says of programs that only some templates need."""

from pathlib import Path

import pytest

from sandboxfile.cli.checks.building import check_builder, check_building, check_skopeo, check_ubuntu
from sandboxfile.host.builders import CHOICE, Builder
from sandboxfile.model.desired import DesiredState
from sandboxfile.model.template import DesiredTemplate, Origin, Recipe

NOTHING = {"PATH": "/nowhere"}


def project(*kinds):
    return DesiredState(
        "p", "/p/sandbox.yaml", (), tuple(DesiredTemplate(kind, Recipe(Origin(kind, "x"))) for kind in kinds)
    )


def test_what_no_template_here_needs_is_only_a_warning():
    found = check_building(None, NOTHING)
    assert [check.verdict for check in found] == ["warning", "warning"]
    assert [check.fix for check in found] == ["apt install skopeo", "apt install buildah"]
    assert [check.verdict for check in check_building(project("debian"), NOTHING)] == ["warning", "warning"]


@pytest.mark.parametrize(("kind", "missing"), [("oci", "skopeo"), ("dockerfile", "Dockerfile builder")])
def test_what_a_template_here_needs_is_missing(kind, missing):
    assert [check.name for check in check_building(project(kind), NOTHING) if check.verdict == "missing"] == [missing]


def test_a_builder_is_told_by_name_and_version():
    found = check_builder(Builder("podman", Path("/usr/bin/podman"), "4.3.1"), True, {})
    assert (found.verdict, found.detail, found.fix) == ("ok", "podman 4.3.1, /usr/bin/podman", None)


def test_a_chosen_builder_that_does_not_work_is_named():
    found = check_builder(None, False, {CHOICE: "docker"})
    assert "docker" in found.detail
    assert CHOICE in found.fix


def test_a_program_on_the_path_is_found(tmp_path):
    program = tmp_path / "skopeo"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    found = check_skopeo(True, {"PATH": str(tmp_path)})
    assert (found.verdict, found.detail) == ("ok", str(program))


def test_the_keys_of_ubuntu_are_looked_for_when_a_template_wants_them(tmp_path):
    names = [check.name for check in check_building(project("ubuntu"), NOTHING)]
    assert "Ubuntu keyring" in names
    missing = check_ubuntu(tmp_path / "keys.gpg")
    assert (missing.verdict, missing.fix) == ("missing", "apt install ubuntu-keyring")
    (tmp_path / "keys.gpg").touch()
    assert check_ubuntu(tmp_path / "keys.gpg").verdict == "ok"
