"""`template export` and `import`, as a user runs them: archives of real layers, whole or not there."""

import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import threading

import pytest

from sandboxfile.images.containers import oci
from sandboxfile.images.layers import tars

DIGEST = "abcdef" + "0" * 58
ROOT = {"bin/sh": b"#!\n", "etc/hosts": b"127.0.0.1 localhost\n"}


@pytest.fixture
def image(make_layer, make_image, layout):
    """An image of two layers."""
    from sandboxfile.images.store import find_layer

    make_layer("a", files=ROOT)
    make_layer("b", parent=find_layer(layout, "a").build, files={"made": b"by a step\n", "etc/.wh.hosts": b""})
    return make_image(DIGEST, "a", "b")


def contents(path, work):
    """The files of an image archive, layer by layer, and its configuration."""
    found = oci.read_image(path, work)
    layers = []
    for layer in found.layers:
        with tars.opened(layer) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            layers.append([member.name for member in archive])
    return layers, found.config


def test_an_archive_has_the_layers_and_the_configuration(cli, project, image, tmp_path):
    said = cli("template", "export", "abcdef", "-o", "out.tar")
    assert said.stdout == ""
    assert "exported as oci-archive:out.tar, called localhost/sbx/abcdef000000:latest" in said.stderr
    layers, config = contents(project / "out.tar", tmp_path / "read")
    assert layers == [["bin/sh", "etc/hosts"], ["made", "etc/.wh.hosts"]]
    assert (config.env, config.user, config.workdir) == ((("LANG", "C.UTF-8"),), "node", "/srv")
    cli("template", "export", "abcdef", "--to", "docker-archive:docker.tar")
    assert contents(project / "docker.tar", tmp_path / "again")[0] == layers
    with tarfile.open(project / "docker.tar") as archive:
        (manifest,) = json.load(archive.extractfile("manifest.json"))
    assert manifest["RepoTags"] == ["localhost/sbx/abcdef000000:latest"]
    assert sorted(path.name for path in project.iterdir()) == ["docker.tar", "out.tar"]


def test_the_same_template_gives_the_same_bytes(cli, project, image):
    for name in ("one.tar", "two.tar"):
        cli("template", "export", "abcdef", "-o", name)
    assert (project / "one.tar").read_bytes() == (project / "two.tar").read_bytes()


def test_standard_output_gets_the_archive_and_nothing_else(cli, project, environment, image, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "sandboxfile", "template", "export", "abcdef", "-o", "-"],
        cwd=project, env=environment, capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    (tmp_path / "out.tar").write_bytes(done.stdout)
    assert contents(tmp_path / "out.tar", tmp_path / "read")[0][1] == ["made", "etc/.wh.hosts"]


def test_a_pipe_is_written_through_and_stays_a_pipe(cli, image, tmp_path):
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    cli("template", "export", "abcdef", "-o", str(pipe))
    reader.join(20)
    assert got[0][257:262] == b"ustar"
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_link_stays_one_and_its_target_is_replaced(cli, project, image):
    (project / "real.tar").touch()
    (project / "link.tar").symlink_to("real.tar")
    cli("template", "export", "abcdef", "-o", "link.tar")
    assert (project / "link.tar").is_symlink()
    assert (project / "real.tar").stat().st_size > 0


def test_an_image_whose_layers_are_gone_cannot_be_exported(cli, project, image, layout):
    shutil.rmtree(layout.layers / "b")
    said = cli("template", "export", "abcdef", "-o", "out.tar", code=1)
    assert "no longer in the cache" in said.stderr
    assert not (project / "out.tar").exists()


def test_what_is_no_destination_is_refused(cli, image):
    assert "oci-archive:PATH" in cli("template", "export", "abcdef", "--to", "out.tar", code=1).stderr
    assert "No such file" in cli("template", "export", "abcdef", "-o", "/nowhere/out.tar", code=1).stderr


@pytest.mark.skipif(shutil.which("skopeo") is None or os.geteuid() != 0, reason="needs skopeo, and a store of its own")
def test_the_store_of_podman_and_buildah_gets_the_image(cli, image, tmp_path):
    store = tmp_path / "storage.conf"
    store.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{tmp_path}/storage"\nrunroot = "{tmp_path}/run"\n')
    own = {"CONTAINERS_STORAGE_CONF": str(store)}
    said = cli("template", "export", "abcdef", "--to", "containers-storage:localhost/team/dev:1", **own)
    assert "exported as containers-storage:localhost/team/dev:1\n" in said.stderr
    found = subprocess.run(
        ["skopeo", "inspect", "containers-storage:localhost/team/dev:1"],
        env={**os.environ, **own}, capture_output=True, check=True,
    )  # fmt: skip
    assert json.loads(found.stdout)["Env"] == ["LANG=C.UTF-8"]


# --- import ------------------------------------------------------------------------------------------------------


def test_what_was_exported_can_be_kept_as_a_template(cli, project, image, layout):
    cli("template", "export", "abcdef", "-o", "out.tar")
    said = cli("template", "import", "out.tar", "team:1")
    assert "kept as saved:team:1" in said.stderr
    assert "base: saved:team:1" in said.stderr
    files = cli("template", "inspect", "saved:team:1", "--files").stdout
    assert "made" in files
    assert "hosts" not in files
    (found,) = json.loads(cli("template", "inspect", "team:1", "--format", "json").stdout)
    assert found["env"] == {"LANG": "C.UTF-8"}
    assert not [path for path in layout.layers.iterdir() if path.name.startswith(".build-")]


def test_a_root_file_system_is_kept_and_standard_input_is_read(cli, project, environment, layout, tmp_path):
    root = project / "root.tar"
    with tarfile.open(root, "w") as archive:
        for name in ("bin", "bin/sh"):
            member = tarfile.TarInfo(name)
            member.type = tarfile.DIRTYPE if name == "bin" else tarfile.REGTYPE
            archive.addfile(member)
    with root.open("rb") as file:
        done = subprocess.run(
            [sys.executable, "-m", "sandboxfile", "template", "import", "-", "saved:tiny"],
            cwd=project, env=environment, stdin=file, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    listed = [line.split()[:3] for line in cli("template", "ls").stdout.splitlines()]
    assert ["tiny", "saved", "saved"] in listed
    assert "tiny already" in cli("template", "import", "root.tar", "tiny", code=1).stderr
    cli("template", "import", "--replace", "root.tar", "tiny")


def test_what_is_no_image_is_refused_and_nothing_is_kept(cli, project, layout):
    (project / "text.tar").write_text("no tar at all")
    assert "text.tar" in cli("template", "import", "text.tar", "x", code=1).stderr
    assert "no file nowhere.tar" in cli("template", "import", "nowhere.tar", "x", code=1).stderr
    assert "lower-case letters" in cli("template", "import", "text.tar", "X!", code=64).stderr
    assert not list(layout.saved.glob("*"))
