"""Images out of a real registry, pulled by the real skopeo."""

import base64
import json
import os
import shutil
import socket
from pathlib import Path

import anyio
import pytest

from sandboxfile.errors import BuildError
from sandboxfile.images.config import ImageConfig, architecture
from sandboxfile.images.containers import registry
from sandboxfile.images.containers.packing import write_archive
from sandboxfile.images.containers.registry_errors import explain
from sandboxfile.model.references import ImageReference
from sandboxfile.model.template import Origin

from ..registry import running_registry

pytestmark = pytest.mark.anyio

CONFIG = ImageConfig(env=(("PATH", "/bin"),), command=("sh",))
PLACES = (
    "XDG_RUNTIME_DIR/containers/auth.json",
    "HOME/.docker/config.json",
    "REGISTRY_AUTH_FILE",
    "DOCKER_CONFIG",
)
ZEROS = f"sha256:{'0' * 64}"


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(autouse=True)
def nobody_logged_in(tmp_path, monkeypatch):
    """No credentials, authorities or mirrors of this host's user."""
    for name in ("REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def images(small_root, tmp_path_factory):
    """Two images of different content, as archives."""
    directory = tmp_path_factory.mktemp("images")
    for name, config in (("one", CONFIG), ("two", ImageConfig(user="agent"))):
        write_archive(directory / name, [small_root, small_root], config, "x:1", epoch=1)
    return directory


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with running_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


def push(skopeo, archive: Path, name: str, *options: str) -> None:
    skopeo("copy", "--dest-tls-verify=false", *options, f"oci-archive:{archive}", f"docker://{name}")


async def fetch(work, reference, digest="", report=print):
    return await registry.fetch(Origin("oci", reference, digest=digest), work, epoch=0, report=report)


async def test_an_image_is_pulled_and_its_digest_is_what_the_registry_has(served, images, work, skopeo, small_root):
    push(skopeo, images / "one", f"{served}/team/small:1")
    said = []
    found = await fetch(work, f"{served}/team/small:1", report=said.append)
    raw = skopeo("inspect", "--tls-verify=false", "--format", "{{.Digest}}", f"docker://{served}/team/small:1")
    assert found.digest == raw.strip() == await registry.resolve(f"{served}/team/small:1")
    assert found.config == CONFIG
    assert len(found.layers) == 2
    assert any("2 layers" in line and "MB" in line for line in said), said


async def test_an_image_in_the_form_of_docker_is_pulled_too(served, images, work, skopeo):
    push(skopeo, images / "one", f"{served}/team/v2s2:1", "--format", "v2s2")
    assert (await fetch(work, f"{served}/team/v2s2:1")).config == CONFIG


async def test_a_pin_holds_when_the_tag_moves(served, images, work, skopeo):
    name = f"{served}/team/moving:1"
    push(skopeo, images / "one", name)
    pinned = await registry.resolve(name)
    push(skopeo, images / "two", name)
    found = await fetch(work, name, pinned)
    assert (found.digest, found.config) == (pinned, CONFIG)
    assert await registry.resolve(name) != pinned


async def test_a_pin_that_is_gone_is_said_with_what_is_there_now(served, images, work, skopeo):
    name = f"{served}/team/gone:1"
    push(skopeo, images / "one", name)
    pinned = await registry.resolve(name)
    skopeo("delete", "--tls-verify=false", f"docker://{served}/team/gone@{pinned}")
    push(skopeo, images / "two", name)
    now = await registry.resolve(name)
    with pytest.raises(BuildError, match=f"pinned to {pinned}.*the tag is now {now}") as caught:
        await fetch(work, name, pinned)
    assert "lock --update" in caught.value.hint


async def test_an_index_is_pinned_as_a_whole_and_this_machine_s_image_is_pulled(served, images, work, tmp_path, skopeo):
    push(skopeo, images / "two", f"{served}/team/many:other")
    push(skopeo, images / "one", f"{served}/team/many:mine")
    raw = {}
    for name, machine in (("other", "sparc64"), ("mine", architecture())):
        text = skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{served}/team/many:{name}")
        digest = await registry.resolve(f"{served}/team/many:{name}")
        raw[name] = {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest,
            "size": len(text.encode()),
            "platform": {"os": "linux", "architecture": machine},
        }
    digest = put_manifest(served, "team/many", "all", {"schemaVersion": 2, "manifests": [raw["other"], raw["mine"]]})
    found = await fetch(work, f"{served}/team/many:all")
    assert (found.digest, found.config) == (digest, CONFIG)
    none = put_manifest(served, "team/many", "none", {"schemaVersion": 2, "manifests": [raw["other"]]})
    with pytest.raises(BuildError, match=f"no image for linux/{architecture()}"):
        await fetch(tmp_path, f"{served}/team/many:none", none)


def put_manifest(served, name: str, tag: str, value: dict) -> str:
    """Put an index into the registry as it is; gives its digest."""
    import hashlib
    import http.client

    data = json.dumps({"mediaType": "application/vnd.oci.image.index.v1+json", **value}).encode()
    connection = http.client.HTTPConnection(served.address, timeout=20)
    kind = {"Content-Type": "application/vnd.oci.image.index.v1+json"}
    connection.request("PUT", f"/v2/{name}/manifests/{tag}", data, kind)
    answer = connection.getresponse()
    assert answer.status == 201, answer.read()
    connection.close()
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.mark.parametrize("reference", ["none:1", "team/none:1"])
async def test_what_a_registry_does_not_have_is_said(reference, served, work):
    with pytest.raises(BuildError, match=f"the registry {served} has no image {served}/{reference}") as caught:
        await fetch(work, f"{served}/{reference}")
    assert caught.value.command[0] == "skopeo"


async def test_a_digest_that_is_not_there_is_said(served, work):
    with pytest.raises(BuildError, match=f"has no image {served}/team/small@{ZEROS}"):
        await fetch(work, f"{served}/team/small", ZEROS)


async def test_a_registry_that_is_not_there_is_said(work):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(BuildError, match=f"the registry {address} cannot be reached") as caught:
            await fetch(work, f"{address}/team/small:1")
    assert "NO_PROXY" in caught.value.hint


async def test_a_registry_that_vanishes_between_its_answer_and_the_layers_is_said(images, work, tmp_path, skopeo):
    with running_registry(tmp_path / "registry") as running:
        name = f"{running}/small:1"
        push(skopeo, images / "one", name)
        digest = await registry.resolve(name)
        shutil.rmtree(tmp_path / "registry/data/docker/registry/v2/blobs")
        with pytest.raises(BuildError):
            await fetch(work, name, digest)
    with pytest.raises(BuildError, match="cannot be reached"):
        await fetch(work, name, digest)


async def test_a_layer_that_the_registry_changed_is_refused(images, work, tmp_path, skopeo):
    with running_registry(tmp_path / "registry") as running:
        push(skopeo, images / "one", f"{running}/small:1")
        blobs = (tmp_path / "registry/data/docker/registry/v2/blobs").rglob("data")
        largest = max(blobs, key=lambda path: path.stat().st_size)
        data = bytearray(largest.read_bytes())
        data[len(data) // 2] ^= 1
        largest.write_bytes(data)
        with pytest.raises(BuildError) as caught:
            await fetch(work, f"{running}/small:1")
    assert "digest" in caught.value.output.lower()


@pytest.mark.parametrize("place", PLACES)
async def test_a_user_who_is_logged_in_may_pull(place, images, work, tmp_path, skopeo, monkeypatch):
    with running_registry(tmp_path / "registry", user="ann", password="pass:word") as running:
        name = f"{running}/team/private:1"
        push(skopeo, images / "one", name, "--dest-creds", "ann:pass:word")
        with pytest.raises(BuildError, match=f"the registry {running} does not give .* to this user") as caught:
            await fetch(work, name)
        assert f"skopeo login {running}" in caught.value.hint
        file = auth_file(place, tmp_path, monkeypatch)
        file.parent.mkdir(parents=True, exist_ok=True)
        word = base64.b64encode(b"ann:pass:word").decode()
        file.write_text(json.dumps({"auths": {running.address: {"auth": word}}}))
        assert (await fetch(work, name)).config == CONFIG


def auth_file(place: str, tmp_path: Path, monkeypatch) -> Path:
    """The file of credentials that this way of naming it leads to."""
    name, _, rest = place.partition("/")
    if name == "REGISTRY_AUTH_FILE":
        monkeypatch.setenv(name, str(tmp_path / "auth.json"))
        return tmp_path / "auth.json"
    if name == "DOCKER_CONFIG":
        monkeypatch.setenv(name, str(tmp_path / "docker"))
        return tmp_path / "docker/config.json"
    return Path(os.environ[name]) / rest


async def test_a_certificate_of_an_unknown_authority_is_refused_even_on_loopback(
    images, work, tmp_path, skopeo, monkeypatch
):
    with running_registry(tmp_path / "registry", tls=True) as running:
        name = f"{running}/team/small:1"
        push(skopeo, images / "one", name)
        with pytest.raises(BuildError, match=f"certificate of the registry {running} is not one to trust") as caught:
            await fetch(work, name)
        assert f"certs.d/{running}" in caught.value.hint
        trusted = tmp_path / "home/.config/containers/certs.d" / running.address
        trusted.mkdir(parents=True)
        shutil.copy(running.authority, trusted / "ca.crt")
        assert (await fetch(work, name)).config == CONFIG


@pytest.mark.parametrize(
    ("name", "loopback"),
    [
        ("127.0.0.1:5000/a", True), ("127.9.9.9/a", True), ("[::1]:5000/a", True), ("localhost:5000/a", True),
        ("localhost/a", True), ("192.0.2.1:5000/a", False), ("registry.example.com/a", False),
        ("localhost.example.com/a", False), ("127.0.0.1.example.com:5000/a", False), ("[2001:db8::1]:5000/a", False),
    ],
)  # fmt: skip
async def test_only_loopback_may_go_without_tls(name, loopback):
    assert registry.is_loopback(ImageReference(name, "1")) == loopback


async def test_without_skopeo_the_package_is_named(work, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/setpriv").symlink_to(shutil.which("setpriv"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(registry, "environment", lambda: {"PATH": str(tmp_path / "bin")})
    with pytest.raises(BuildError, match="skopeo is not installed") as caught:
        await fetch(work, "registry.example.com/a:1")
    assert "apt install skopeo" in caught.value.hint


async def test_a_cancelled_pull_ends_skopeo(images, work, tmp_path, skopeo, monkeypatch):
    with running_registry(tmp_path / "registry") as running:
        push(skopeo, images / "one", f"{running}/small:1")
        digest = await registry.resolve(f"{running}/small:1")
        pids = []
        real = anyio.open_process

        async def noticed(command, **options):
            process = await real(command, **options)
            pids.append(process.pid)
            if "copy" in command:
                group.cancel_scope.cancel()
            return process

        monkeypatch.setattr(anyio, "open_process", noticed)
        async with anyio.create_task_group() as group:
            await registry.pull(f"{running}/small:1", digest, work, print)
        assert len(pids) > 1
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


async def test_more_than_was_announced_and_a_standstill_end_a_pull(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(registry, "monotonic", lambda: now[0])
    said = []
    watch = registry._Watcher(ImageReference("registry.example.com/a", "1"), "1 layer", 1000, said.append)
    watch(500)
    assert said == ["pulling 1 layer, 500 bytes of 1.0 kB"]
    now[0] = registry.STALL_SECONDS
    watch(500)
    now[0] += 1
    with pytest.raises(BuildError, match="stands still"):
        watch(500)
    with pytest.raises(BuildError, match="sends more"):
        watch(1001 + registry.SURPLUS)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("toomanyrequests: You have reached your pull rate limit", "wants fewer requests"),
        ("received unexpected HTTP status: 503 Service Unavailable", "cannot be reached"),
        ("lookup registry.example.com: no such host", "cannot be reached"),
        ("write /x: no space left on device", "disk is full"),
        ("something new", "skopeo failed"),
        (registry.registry_errors.PLAIN_HTTP, "speaks plain HTTP"),
    ],
)
async def test_other_failures_are_explained_by_what_skopeo_says(said, message):
    log = f'time="2030-01-01T00:00:00Z" level=fatal msg="initializing source: {said}"\n'
    error = explain(ImageReference("registry.example.com/a", "1"), ("skopeo",), log)
    assert message in error.message
    assert said in error.output
