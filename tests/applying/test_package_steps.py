"""Steps of packages as commands, and what managers print."""

import json

import pytest

from sandboxfile.applying import package_steps
from sandboxfile.errors import BuildError
from sandboxfile.model.template import BuildStep


def command(kind, *packages, versions=()):
    return package_steps.installing(BuildStep(kind, packages, versions))


@pytest.mark.parametrize("kind", ["apt", "npm", "pip"])
def test_names_of_packages_are_arguments_and_never_part_of_a_script(kind):
    argv = command(kind, "a;b", "$(c)").argv
    assert argv[:2] == ("/bin/sh", "-c")
    assert argv[-2:] == ("a;b", "$(c)")
    assert "a;b" not in argv[2]


def test_a_pinned_npm_package_is_that_version_whatever_was_written():
    versions = (("@types/node", "20.1.0"), ("typescript", "5.1.6"))
    argv = command("npm", "typescript@^5", "@types/node", "left", versions=versions).argv
    assert argv[-3:] == ("typescript@5.1.6", "@types/node@20.1.0", "left")


def test_pins_of_pip_and_apt_are_constraints_so_that_the_arguments_stay_the_same():
    versions = (("jq", "1.7"),)
    assert command("pip", "jq>=1", versions=versions).argv[-2:] == ("jq==1.7\n", "jq>=1")
    pins, name = command("apt", "jq", versions=versions).argv[-2:]
    assert pins == "Package: jq\nPin: version 1.7\nPin-Priority: 1001\n\n"
    assert name == "jq"


def test_a_list_that_no_command_can_take_is_an_error():
    with pytest.raises(BuildError, match="too many packages"):
        command("npm", *(f"package-{number}" for number in range(10_000)))


@pytest.mark.parametrize(
    ("kind", "printed", "found"),
    [
        ("apt", "installed jq 1.7-1\nconfig-files old 1\nnot-installed none \n", (("jq", "1.7-1"),)),
        ("npm", json.dumps({"dependencies": {"b": {"version": "2"}, "a": {}}}), (("b", "2"),)),
        ("npm", "{}", ()),
        ("pip", "b==2\n# comment\na==1.0\nlocal @ file:///x\n", (("a", "1.0"), ("b", "2"))),
    ],
)
def test_what_is_installed(kind, printed, found):
    assert package_steps.installed(kind, printed) == found


@pytest.mark.parametrize(("kind", "printed"), [("npm", "npm ERR!"), ("npm", "[]"), ("apt", "one two three four\n")])
def test_what_no_manager_prints_is_an_error(kind, printed):
    with pytest.raises(BuildError, match=f"cannot tell what {kind}"):
        package_steps.installed(kind, printed)


def test_packages_that_are_not_what_they_were_pinned_to():
    there = (("a", "1"), ("b", "3"))
    assert package_steps.moved((("a", "1"), ("b", "2"), ("c", "1")), there) == ["b: locked 2, there is 3"]


def test_an_image_without_the_manager_is_told_apart_from_a_failure():
    assert package_steps.lacking("npm", 69) == ("npm", "install it first: packages: {apt: [npm]}")
    assert package_steps.lacking("npm", 1) is None
    assert package_steps.lacking("run", 69) is None
