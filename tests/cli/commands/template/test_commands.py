"""`template ls`, `inspect` and `rm`, as a user runs them, over images that exist on disk only."""

import json

import pytest

FILE = (
    "name: shop\ntemplates:\n  dev:\n    base: debian:trixie\n    packages: {apt: [git]}\n    run: [make tools]\n"
    "    policy: {allow: [api.example.com]}\n  other: {base: dev, run: [make more]}\n"
    "sandboxes: {web: {template: dev}}\n"
)


@pytest.fixture
def file(project):
    path = project / "sandbox.yaml"
    path.write_text(FILE)
    return path


@pytest.fixture
def digest(cli, file):
    """Of the recipe of a template of the file."""

    def of(name):
        return one(cli("template", "inspect", name, "--format", "json"))["digest"]

    return of


def one(said):
    (found,) = json.loads(said.stdout)
    return found


def listed(said):
    return {item["name"]: item for item in json.loads(said.stdout)}


def test_the_built_in_templates_are_there_without_a_file(cli, layout):
    said = cli("template", "ls")
    assert ["shell", "built-in", "not", "built"] in [line.split()[:4] for line in said.stdout.splitlines()]
    assert said.stderr == "in the cache: nothing\n"
    assert listed(cli("template", "ls", "--format", "json"))["shell"]["built"] is False
    assert not layout.state.exists()


def test_templates_of_the_file_and_saved_ones_are_listed_with_what_they_take(cli, file, digest, make_image, make_saved):
    make_saved("kept")
    make_image(digest("dev"))
    make_image("9" * 64, title="of another project")
    found = listed(cli("template", "ls", "--format", "json"))
    assert [found[name]["source"] for name in ("dev", "other", "shell", "kept")] == [
        "file",
        "file",
        "built-in",
        "saved",
    ]
    assert [found[name]["built"] for name in ("dev", "other", "kept")] == [True, False, True]
    assert found["dev"]["size"] >= 1 << 20
    assert found["dev"]["content"].startswith("sha256:")
    assert "9" * 12 not in found
    every = listed(cli("template", "ls", "--all", "--format", "json"))
    assert every["9" * 12]["source"] == "cache"
    assert every["9" * 12]["made_of"] == "of another project"
    assert cli("template", "ls", "-q").stdout.split() == list(found)
    shown = cli("template", "ls")
    assert ["dev", "file", "built", "1.0", "MiB"] in [line.split()[:5] for line in shown.stdout.splitlines()]
    assert "saved templates" in shown.stderr


def test_a_wrong_file_is_told_and_nothing_is_listed(cli, project):
    (project / "sandbox.yaml").write_text("templates: {x: {colour: red}}\n")
    said = cli("template", "ls", code=1)
    assert "colour" in said.stderr
    assert said.stdout == ""


def test_inspect_shows_the_recipe_with_places_and_what_the_build_may_reach(cli, file):
    shown = cli("template", "inspect", "other").stdout
    assert "begins with  debian:trixie" in shown
    assert "run make tools  (sandbox.yaml:6:11)" in shown
    assert "run make more  (sandbox.yaml:8:28)" in shown
    assert "status       not built" in shown
    found = one(cli("template", "inspect", "dev", "--format", "json"))
    assert [rule["pattern"] for layer in found["policy"]["layers"] for rule in layer["rules"]] == ["api.example.com"]
    assert found["recipe"]["origin"]["packages"] == ["git"]
    assert found["recipe"]["steps"][0]["command"] == ["/bin/sh", "-c", "make tools"]
    assert found["layers"] == []


def test_inspect_shows_what_is_in_an_image_that_is_built(cli, file, digest, make_image, make_layer):
    make_layer("a" * 64)
    make_image(digest("dev"), "a" * 64)
    found = one(cli("template", "inspect", "dev", "--format", "json"))
    assert found["env"] == {"LANG": "C.UTF-8"}
    assert (found["user"], found["workdir"], found["command"]) == ("node", "/srv", ["serve"])
    assert found["versions"] == {"apt": {"git": "1:2.47.3-0+deb13u1"}}
    assert [layer["made_by"] for layer in found["layers"]] == [f"layer {'a' * 64}"]
    shown = cli("template", "inspect", "dev").stdout
    assert "environment  LANG=C.UTF-8" in shown
    assert "git 1:2.47.3-0+deb13u1" in shown
    assert f"layers       {'a' * 12}     1.0 MiB" in shown


def test_images_are_found_by_the_beginning_of_either_digest(cli, make_image):
    make_image("abcdef1" + "0" * 57, files=[("etc/hosts", "1" * 64)])
    make_image("abcdef2" + "0" * 57, files=[("etc/hosts", "2" * 64)])
    found = one(cli("template", "inspect", "abcdef1", "--format", "json"))
    content = found["content"]
    assert one(cli("template", "inspect", content[:20], "--format", "json"))["digest"] == found["digest"]
    assert "several images" in cli("template", "inspect", "abcdef", code=1).stderr
    assert "abcdef1" in cli("template", "inspect", "abcdef", code=1).stderr


def test_the_files_of_an_image_are_listed_one_a_line(cli, make_image):
    make_image("abcdef1" + "0" * 57, files=[("etc/hosts", "1" * 64), ("etc/evil\x1b[2J\nname", "2" * 64)])
    lines = cli("template", "inspect", "abcdef1", "--files").stdout.splitlines()
    assert lines[1] == "-rw-r--r-- 0:0          7 etc/hosts"
    assert len(lines) == 2
    assert "\x1b" not in lines[0]
    found = one(cli("template", "inspect", "abcdef1", "--files", "--format", "json"))
    assert found["files"][1]["digest"] == f"sha256:{'1' * 64}"


def test_two_images_are_compared(cli, make_image):
    make_image("abcdef1" + "0" * 57, files=[("etc/hosts", "1" * 64), ("etc/motd", "1" * 64)])
    make_image("abcdef2" + "0" * 57, files=[("etc/hosts", "2" * 64)])
    shown = cli("template", "inspect", "abcdef1", "--diff", "abcdef2").stdout
    assert shown.splitlines()[1:] == ["etc/hosts  content", "etc/motd   only in abcdef100000"]
    found = one(cli("template", "inspect", "abcdef1", "--diff", "abcdef1", "--format", "json"))
    assert found["differences"] == []
    assert "same content" in cli("template", "inspect", "abcdef1", "--diff", "abcdef1").stderr


def test_the_files_of_what_is_not_built_cannot_be_listed(cli, file):
    said = cli("template", "inspect", "dev", "other", "--files", code=1).stderr
    assert "dev, other are not built" in said
    assert "sbx template build dev other" in said


def test_all_words_that_mean_nothing_are_told_at_once(cli, file):
    said = cli("template", "inspect", "dve", "nowhere", code=1).stderr
    assert "there are no templates dve, nowhere" in said
    assert "did you mean dev?" in said
    assert "dve" in cli("template", "build", "dve", code=1).stderr


def test_an_image_that_is_removed_takes_the_layers_with_it_that_only_it_has(
    cli, layout, file, digest, make_image, make_layer
):
    for key in ("a", "b"):
        make_layer(key)
    image = make_image(digest("dev"), "a", "b")
    kept = make_image("9" * 64, "a")
    said = cli("template", "rm", "dev", "other")
    assert "freed 2.0 MiB" in said.stderr
    assert "template other: is not built" in said.stderr
    assert (image.exists(), kept.exists()) == (False, True)
    assert sorted(path.name for path in layout.layers.iterdir() if not path.name.startswith(".")) == ["a"]
    assert "nothing to remove" in cli("template", "rm", "dev").stderr


def test_a_sandbox_keeps_what_its_disk_stands_on(cli, layout, make_image, stopped):
    image, paths = make_image("abcdef" + "0" * 58), stopped("web", image="abcdef" + "0" * 58)
    paths.base.unlink()
    paths.base.hardlink_to(image / "rootfs.ext4")
    said = cli("template", "rm", "abcdef")
    assert "shop/web: made from it" in said.stderr
    assert paths.base.stat().st_size == 1 << 20
    assert not image.exists()


def test_a_saved_template_is_deleted_only_after_asking(cli, layout, make_saved):
    info = make_saved("kept:1")
    assert "--yes" in cli("template", "rm", "saved:kept:1", code=1).stderr
    assert info.directory.exists()
    assert "nothing can make it again" in cli("template", "rm", "-y", "kept:1").stderr
    assert not info.directory.exists()
    assert "no template kept:1" in cli("template", "rm", "-y", "kept:1", code=1).stderr
