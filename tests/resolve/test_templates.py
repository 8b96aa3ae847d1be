"""A chain of templates is one image, named by what is in it."""

from sandboxfile.resolve.templates import image_spec


def test_packages_add_up_env_merges_and_the_nearest_user_counts(host):
    sandbox = host.only(
        "templates:\n"
        "  a: {base: debian:bookworm, packages: {apt: [make, git]}, env: {A: 1, B: 1}, user: dev}\n"
        "  b: {base: a, packages: {apt: [git, vim]}, env: {B: 2}}\n"
        "sandboxes: {web: {template: b}}"
    )
    assert sandbox.image.base == "debian:bookworm"
    assert sandbox.image.packages == ("git", "make", "vim")
    assert sandbox.env == (("A", "1"), ("B", "2"))
    assert sandbox.user == "dev"


def test_a_template_without_a_base_stands_on_the_built_in_shell(host):
    image = host.only("templates: {a: {packages: {apt: [ripgrep]}}}\nsandboxes: {web: {template: a}}").image
    assert image.base == "debian:trixie"
    assert {"ripgrep", "sudo", "git"} <= set(image.packages)


def test_images_are_equal_when_their_inputs_are():
    assert image_spec("debian:trixie", ["b1", "a1", "b1"]) == image_spec("debian:trixie", ["a1", "b1"])
    digests = {
        image_spec(*inputs).digest
        for inputs in (("debian:trixie", ()), ("debian:bookworm", ()), ("debian:trixie", ("a1",)))
    }
    assert len(digests) == 3


def test_env_and_user_are_no_part_of_the_image(host):
    sandboxes = host.state(
        "templates: {a: {env: {X: 1}}, b: {user: root}}\nsandboxes: {one: {template: a}, two: {template: b}}"
    ).sandboxes
    assert sandboxes[0].image == sandboxes[1].image


def test_the_rest_of_a_wrong_file_resolves_to_nothing_instead_of_crashing(host):
    from sandboxfile.language.validate import load
    from sandboxfile.resolve.templates import resolve_template

    file, _, problems = load("templates: {a: {base: b}, b: {base: a}}\nsandboxes: {web: {template: gone}}", "f")
    assert problems
    assert file is not None
    assert resolve_template(file, "a") is None
    assert resolve_template(file, "gone") is None
