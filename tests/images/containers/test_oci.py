"""Images in files: written by us and read by skopeo, written by skopeo and read by us, and forged ones refused."""

import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
import threading
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from sandboxfile.errors import BuildError
from sandboxfile.images.config import ImageConfig, architecture
from sandboxfile.images.containers import members, oci
from sandboxfile.images.containers.packing import write_archive

EPOCH = 1_700_000_000
CONFIG = ImageConfig(env=(("PATH", "/bin"),), user="agent", workdir="/work", command=("sh", "-l"))
NAME = "localhost/sbx/small:1"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
MINE = {"os": "linux", "architecture": architecture()}


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Layout:
    """An OCI layout to forge: blobs are added, then an index of descriptors is written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "blobs/sha256").mkdir(parents=True)
        (root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def blob(self, kind: str, data: object, **more: object) -> dict:
        raw = data if isinstance(data, bytes) else json.dumps(data).encode()
        digest = digest_of(raw)
        (self.root / "blobs/sha256" / digest.removeprefix("sha256:")).write_bytes(raw)
        return {"mediaType": kind, "digest": digest, "size": len(raw), **more}

    def image(self, layers: list[dict], *, about: dict | None = None, kind: str = oci.layouts.CONFIGS[0]) -> dict:
        config = about or {**MINE, "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64] * len(layers)}}
        return self.blob(MANIFEST, {"schemaVersion": 2, "config": self.blob(kind, config), "layers": layers})

    def index(self, *descriptors: dict) -> Path:
        (self.root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": list(descriptors)}))
        return self.root


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path / "layout")


@pytest.fixture
def two_layers(make_layer):
    """The upper one removes a file of the lower."""
    return [
        make_layer(**{"bin": None, "bin/sh": b"shell", "etc": None, "etc/old": b"old"}),
        make_layer(**{"etc/.wh.old": b""}),
    ]


def read(path: Path, tmp_path: Path):
    return oci.read_image(path, tmp_path / "members")


# what we write


@pytest.mark.parametrize("format", ["oci", "docker"])
def test_what_is_written_is_read_back(format, two_layers, tmp_path):
    digest = write_archive(tmp_path / "a.tar", two_layers, CONFIG, NAME, epoch=EPOCH, format=format)
    image = read(tmp_path / "a.tar", tmp_path)
    assert (image.config, image.digest) == (CONFIG, digest)
    for path, layer in zip(image.layers, two_layers, strict=True):
        data = path.read_bytes()
        assert (gzip.decompress(data) if format == "oci" else data) == layer.read_bytes()


@pytest.mark.parametrize("format", ["oci", "docker"])
def test_skopeo_takes_what_is_written(format, two_layers, tmp_path, skopeo):
    archive = tmp_path / "a.tar"
    write_archive(archive, two_layers, CONFIG, NAME, epoch=EPOCH, format=format)
    about = json.loads(skopeo("inspect", "--config", f"{format}-archive:{archive}"))
    assert about["rootfs"]["diff_ids"] == [digest_of(layer.read_bytes()) for layer in two_layers]
    assert about["created"] == "2023-11-14T22:13:20Z"
    skopeo("copy", f"{format}-archive:{archive}:{NAME}", f"dir:{tmp_path / 'copy'}")


@pytest.mark.parametrize("format", ["oci", "docker"])
def test_the_same_input_gives_the_same_bytes(format, two_layers, tmp_path):
    for name in ("one.tar", "two.tar"):
        write_archive(tmp_path / name, two_layers, CONFIG, NAME, epoch=EPOCH, format=format)
        for layer in two_layers:
            os.utime(layer)
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_layers_of_any_compression_are_the_same_image(two_layers, tmp_path):
    subprocess.run(["zstd", "-q", *map(str, two_layers)], check=True)
    compressed = [layer.with_name(f"{layer.name}.zst") for layer in two_layers]
    plain = write_archive(tmp_path / "plain.tar", two_layers, CONFIG, NAME, epoch=EPOCH)
    assert write_archive(tmp_path / "zstd.tar", compressed, CONFIG, NAME, epoch=EPOCH) == plain


def test_a_layer_may_occur_twice(make_layer, tmp_path, skopeo):
    layer = make_layer(file=b"x")
    for format in ("oci", "docker"):
        write_archive(tmp_path / format, [layer, layer], CONFIG, NAME, epoch=0, format=format)
        assert len(oci.read_image(tmp_path / format, tmp_path / f"{format}-members").layers) == 2
        skopeo("inspect", f"{format}-archive:{tmp_path / format}")


def test_a_damaged_layer_leaves_no_archive(make_layer, tmp_path):
    layer = make_layer(file=b"x" * 10_000)
    layer.write_bytes(gzip.compress(layer.read_bytes())[:-30])
    before = set(tmp_path.iterdir())
    with pytest.raises(BuildError, match="damaged"):
        write_archive(tmp_path / "a.tar", [layer], CONFIG, NAME, epoch=0)
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("format", ["oci", "docker"])
def test_the_local_store_takes_what_is_written_by_its_name(format, small_root, tmp_path, own_store):
    archive = tmp_path / "a.tar"
    write_archive(archive, [small_root], CONFIG, NAME, epoch=EPOCH, format=format)
    done = subprocess.run(["podman", "load", "-i", str(archive)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    listed = subprocess.run(["buildah", "images", "--format", "{{.Name}}:{{.Tag}}"], capture_output=True, text=True)
    assert listed.stdout.split() == [NAME]


# what others write


@pytest.mark.parametrize("transport", ["oci", "oci-archive", "docker-archive"])
def test_what_skopeo_writes_is_read(transport, two_layers, tmp_path, skopeo):
    write_archive(tmp_path / "a.tar", two_layers, CONFIG, NAME, epoch=EPOCH)
    skopeo("copy", f"oci-archive:{tmp_path / 'a.tar'}", f"{transport}:{tmp_path / 'b'}:{NAME}")
    image = read(tmp_path / "b", tmp_path)
    assert image.config == CONFIG
    assert len(image.layers) == 2


def test_a_compressed_archive_is_read(two_layers, tmp_path):
    write_archive(tmp_path / "a.tar", two_layers, CONFIG, NAME, epoch=EPOCH, format="docker")
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress((tmp_path / "a.tar").read_bytes()))
    assert read(tmp_path / "a.tar.gz", tmp_path).config == CONFIG


def test_the_image_of_this_machine_is_chosen_out_of_nested_indexes(layout, tmp_path):
    mine = layout.image([layout.blob(LAYER, b"mine")])
    other = layout.image([layout.blob(LAYER, b"other")])
    newer = {**other, "platform": {**MINE, "variant": "v9"}}
    elsewhere = {**other, "platform": {"os": "linux", "architecture": "sparc64"}}
    attested = {**other, "platform": {"os": "unknown", "architecture": "unknown"}}
    nested = layout.blob(
        INDEX, {"schemaVersion": 2, "manifests": [elsewhere, newer, {**mine, "platform": MINE}, attested]}
    )
    image = read(layout.index(nested), tmp_path)
    assert image.digest == mine["digest"]
    assert [path.read_bytes() for path in image.layers] == [b"mine"]


def test_what_an_image_of_several_machines_has_is_said(layout, tmp_path):
    theirs = {**layout.image([]), "platform": {"os": "windows", "architecture": "amd64"}}
    with pytest.raises(BuildError, match=f"no image for linux/{architecture()}") as caught:
        read(layout.index(theirs), tmp_path)
    assert "windows/amd64" in caught.value.hint


def test_an_image_of_another_machine_is_refused_whatever_the_index_says(layout, tmp_path):
    about = {"os": "linux", "architecture": "sparc64", "rootfs": {"diff_ids": []}}
    with pytest.raises(BuildError, match="is for linux/sparc64"):
        read(layout.index(layout.image([], about=about)), tmp_path)


# forged ones


def test_a_layer_that_is_not_what_its_digest_says_is_refused(layout, tmp_path):
    layer = layout.blob(LAYER, b"good")
    path = layout.index(layout.image([layer]))
    (path / "blobs/sha256" / layer["digest"].removeprefix("sha256:")).write_bytes(b"evil")
    with pytest.raises(BuildError, match="not what its digest says"):
        read(path, tmp_path)


def test_a_wrong_size_is_refused_like_a_wrong_digest(layout, tmp_path):
    layer = layout.blob(LAYER, b"good") | {"size": 5}
    with pytest.raises(BuildError, match="not what its digest says"):
        read(layout.index(layout.image([layer])), tmp_path)


@pytest.mark.parametrize("which", ["manifest", "config"])
def test_a_forged_description_is_refused(which, layout, tmp_path):
    image = layout.image([])
    path = layout.index(image)
    digest = (
        image["digest"]
        if which == "manifest"
        else digest_of(json.dumps({**MINE, "rootfs": {"type": "layers", "diff_ids": []}}).encode())
    )
    blob = path / "blobs/sha256" / digest.removeprefix("sha256:")
    blob.write_bytes(blob.read_bytes() + b" ")
    with pytest.raises(BuildError, match="damaged"):
        read(path, tmp_path)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "foreign"),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar", "foreign"),
        (f"{LAYER}+gzip+encrypted", "encrypted"),
        ("application/vnd.example.com.thing", "unknown kind"),
    ],
)
def test_layers_that_are_none_are_refused_with_the_reason(kind, words, layout, tmp_path):
    with pytest.raises(BuildError, match=words):
        read(layout.index(layout.image([layout.blob(kind, b"x")])), tmp_path)


def test_an_artifact_that_is_no_image_is_refused(layout, tmp_path):
    with pytest.raises(BuildError, match="no image to run"):
        read(layout.index(layout.image([], kind="application/vnd.oci.empty.v1+json")), tmp_path)


@pytest.mark.parametrize(
    "descriptor",
    [
        {"mediaType": MANIFEST, "digest": "sha256:../../../etc/passwd", "size": 1},
        {"mediaType": MANIFEST, "digest": "sha256:" + "A" * 64, "size": 1},
        {"mediaType": MANIFEST, "digest": "md5:" + "0" * 32, "size": 1},
        {"mediaType": MANIFEST, "digest": "sha256:" + "0" * 64, "size": True},
        {"mediaType": MANIFEST, "size": 1},
        "manifest",
        None,
    ],
)
def test_a_descriptor_that_leads_elsewhere_is_refused(descriptor, layout, tmp_path):
    with pytest.raises(BuildError, match="damaged"):
        read(layout.index(descriptor), tmp_path)


def test_indexes_without_end_are_refused(layout, tmp_path):
    item = layout.image([])
    for _ in range(10):
        item = layout.blob(INDEX, {"schemaVersion": 2, "manifests": [item]})
    with pytest.raises(BuildError, match="too deep"):
        read(layout.index(item), tmp_path)


def test_several_images_are_no_choice_of_ours(layout, tmp_path):
    items = []
    for word in ("first", "second"):
        image = layout.image([layout.blob(LAYER, word.encode())])
        items.append({**image, "annotations": {"org.opencontainers.image.ref.name": word}})
    with pytest.raises(BuildError, match="holds 2 images: first, second"):
        read(layout.index(*items), tmp_path)


@pytest.mark.parametrize("text", ["", "[" * 100_000, "[]", '{"manifests": {}}', '{"manifests": []}', " " * (9 << 20)])
def test_an_index_that_is_none_is_refused(text, layout, tmp_path):
    layout.index()
    (layout.root / "index.json").write_text(text)
    with pytest.raises(BuildError):
        read(layout.root, tmp_path)


def test_a_layout_is_not_followed_out_of_its_directory(layout, tmp_path):
    layer = layout.blob(LAYER, b"secret")
    blob = layout.root / "blobs/sha256" / layer["digest"].removeprefix("sha256:")
    blob.rename(tmp_path / "outside")
    blob.symlink_to(tmp_path / "outside")
    with pytest.raises(BuildError, match="not whole"):
        read(layout.index(layout.image([layer])), tmp_path)


def test_a_pipe_in_a_layout_stops_nobody(layout, tmp_path):
    layout.index()
    (layout.root / "index.json").unlink()
    os.mkfifo(layout.root / "index.json")
    with pytest.raises(BuildError, match="no image"):
        read(layout.root, tmp_path)


def saved(path: Path, manifest: object, files: dict[str, bytes], extra: list[tarfile.TarInfo] = []) -> Path:  # noqa: B006
    """An archive as `docker save` writes it."""
    with tarfile.open(path, "w") as archive:
        for name, data in {"manifest.json": json.dumps(manifest).encode(), **files}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for member in extra:
            archive.addfile(member)
    return path


def about(*layers: bytes) -> bytes:
    return json.dumps({**MINE, "rootfs": {"diff_ids": [digest_of(data) for data in layers]}}).encode()


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def test_an_archive_of_docker_may_link_its_layers(tmp_path):
    manifest = [{"Config": "c.json", "Layers": ["one/layer.tar", "two/layer.tar"]}]
    files = {"c.json": about(b"L", b"L"), "one/layer.tar": b"L"}
    path = saved(tmp_path / "a.tar", manifest, files, [link("two/layer.tar", "../one/layer.tar")])
    image = read(path, tmp_path)
    assert [layer.read_bytes() for layer in image.layers] == [b"L", b"L"]
    assert image.digest == digest_of(files["c.json"])


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../../etc/passwd", "two/layer.tar", "gone"])
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_lead_nowhere_but_into_the_archive(target, kind, tmp_path):
    manifest = [{"Config": "c.json", "Layers": ["two/layer.tar"]}]
    path = saved(tmp_path / "a.tar", manifest, {"c.json": about(b"L")}, [link("two/layer.tar", target, kind)])
    with pytest.raises(BuildError, match="not whole"):
        read(path, tmp_path)


@pytest.mark.parametrize("name", ["/etc/passwd", "../../../etc/passwd", "a/../../../etc/passwd"])
def test_a_manifest_that_points_outside_finds_nothing(name, tmp_path):
    path = saved(tmp_path / "a.tar", [{"Config": name, "Layers": []}], {})
    with pytest.raises(BuildError, match="not whole"):
        read(path, tmp_path)


def test_members_that_climb_out_are_written_nowhere(tmp_path):
    content = b"L"
    files = {"c.json": about(content), "../../escaped": b"evil", "/abs": content}
    path = saved(tmp_path / "a.tar", [{"Config": "c.json", "Layers": ["abs"]}], files)
    read(path, tmp_path)
    assert not (tmp_path.parent / "escaped").exists()
    assert {item.name for item in tmp_path.iterdir()} == {"a.tar", "members"}
    assert all(item.is_file() for item in (tmp_path / "members").iterdir())


@pytest.mark.parametrize(
    "manifest",
    [
        {}, [], [{}], [None], [{"Config": "c.json"}, {"Config": "c.json"}], [{"Config": 1, "Layers": []}],
        [{"Config": "c.json", "Layers": [7]}], [{"Config": "c.json", "Layers": ["l"] * 2000}],
        [{"Config": "c.json", "Layers": []}],
    ],
)  # fmt: skip
def test_a_manifest_of_docker_that_is_none_is_refused(manifest, tmp_path):
    path = saved(tmp_path / "a.tar", manifest, {"c.json": about(b"L"), "l": b"L"})
    with pytest.raises(BuildError):
        read(path, tmp_path)


def test_a_layer_that_its_configuration_does_not_know_is_refused(tmp_path):
    path = saved(tmp_path / "a.tar", [{"Config": "c.json", "Layers": ["l"]}], {"c.json": about(b"L"), "l": b"evil"})
    with pytest.raises(BuildError, match="not what its digest says"):
        read(path, tmp_path)


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_a_device_in_an_archive_is_refused(kind, tmp_path):
    member = tarfile.TarInfo("x")
    member.type = kind
    with pytest.raises(BuildError, match="no image does"):
        read(saved(tmp_path / "a.tar", [], {}, [member]), tmp_path)


def test_an_archive_with_members_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(members, "MEMBERS", 10)
    with pytest.raises(BuildError, match="more than an image may"):
        read(saved(tmp_path / "a.tar", [], {str(number): b"" for number in range(20)}), tmp_path)


def test_an_archive_larger_than_any_image_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(members, "BYTES", 1000)
    with pytest.raises(BuildError, match="more than an image may"):
        read(saved(tmp_path / "a.tar", [], {"a": b"x" * 2000}), tmp_path)


def test_what_is_no_tar_is_refused(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"x" * 2000)
    with pytest.raises(BuildError, match="not a tar"):
        read(tmp_path / "a.tar", tmp_path)


def test_a_name_of_a_stranger_changes_no_terminal(layout, tmp_path):
    with pytest.raises(BuildError) as caught:
        read(layout.index(layout.image([layout.blob("\x1b[2Jevil", b"x")])), tmp_path)
    assert "\x1b" not in caught.value.message


@pytest.mark.anyio
async def test_reading_ends_when_nobody_waits_any_more(layout, tmp_path, monkeypatch):
    path = layout.index(layout.image([layout.blob(LAYER, b"x")]))
    reached, ended = threading.Event(), threading.Event()

    def copy(source, target, *, cancelled):
        reached.set()
        try:
            while True:
                cancelled()
                ended.wait(0.001)
        finally:
            ended.set()

    monkeypatch.setattr(members, "copy", copy)
    async with anyio.create_task_group() as group:
        group.start_soon(oci.read, path, tmp_path / "members")
        await anyio.to_thread.run_sync(reached.wait, 20)
        group.cancel_scope.cancel()
    assert ended.is_set()
