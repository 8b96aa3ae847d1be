"""A sandbox's own Docker daemon on the real thing: images, builds and containers, all behind the sandbox's policy.

One sandbox for all tests, in this order: what one makes, later ones find, also after a stop and a start. The image is
the guest's static busybox; a registry of the test's own runs on loopback, with a certificate of the origins' authority.
"""

import io
import json
import os
import shlex
import signal
import subprocess
import tarfile
import urllib.request
from hashlib import sha256

import pytest

from ..images.registry import running_registry

pytestmark = pytest.mark.vm

FILE = """\
sandboxes:
  box:
    template: base
    workspaces: [.]
    policy:
      allow: [api.example.com, registry.example.com]
  plain: {}
"""
HELLO = "hello from the origin"
DOCKERFILE = """\
FROM loaded
RUN echo "said: $(wget -qO- http://api.example.com/)"
"""
ASK_PUBLISHED = "curl -sS --retry 20 --retry-connrefused --retry-delay 1 http://localhost:8080/"
COMPOSE = """\
services:
  web:
    image: loaded
    command: [sh, -c, "echo served by compose >index.html && exec httpd -f -p 80"]
    ports: ["127.0.0.1:8081:80"]
  client:
    image: loaded
    command: [sh, -c, "until wget -qO- http://web/; do sleep 0.2; done"]
    depends_on: [web]
"""


@pytest.fixture(scope="module")
def registry(module_sbx, module_origin, tmp_path_factory):
    """An empty registry on loopback. Sandboxes know it as registry.example.com; as text it is its address."""
    identity = module_origin.authority.issue("registry.example.com", "127.0.0.1")
    directory = tmp_path_factory.mktemp("registry")
    with running_registry(directory, tls=(identity.certificate, identity.key)) as running:
        config = module_sbx.home / ".config/sandboxfile"
        module_origin.publish(config, {"registry.example.com:443": str(running)})
        yield running


@pytest.fixture(scope="module")
def box(module_sbx, module_origin, registry):
    """Runs a shell line inside, as the agent, in the project's directory; gives what it printed on both streams."""
    module_sbx.write(FILE)
    module_sbx("up", "--yes")

    def run(line, code=0):
        done = module_sbx("exec", "box", "sh", "-c", f"exec 2>&1; {line}", any_code=True, timeout=120)
        assert code is None or done.code == code, done.stdout
        return done.stdout.strip()

    run.sbx, run.origin = module_sbx, module_origin
    yield run
    module_sbx("down", "--yes")


def image(busybox: bytes) -> bytes:
    """What `docker save` would write for an image called `loaded` that is nothing but busybox.

    Its /lib and /lib64 lead into /usr, so that a container that is given the guest's /usr can run the guest's programs.
    """
    applets = ("sh", "cat", "echo", "env", "grep", "httpd", "sleep", "wget", "true", "id", "ls", "ip", "nslookup")
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        add(tar, "bin/busybox", busybox, 0o755)
        links = {f"bin/{name}": "busybox" for name in applets} | {"lib": "usr/lib", "lib64": "usr/lib64"}
        for name, target in links.items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)
    content = layer.getvalue()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(content).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": ["loaded:latest"], "Layers": ["layer.tar"]}]
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        add(tar, "layer.tar", content)
        add(tar, "config.json", json.dumps(config).encode())
        add(tar, "manifest.json", json.dumps(manifest).encode())
    return archive.getvalue()


def add(tar: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    tar.addfile(entry, io.BytesIO(data))


def test_the_daemon_is_up_when_the_sandbox_is_ready_and_the_agent_needs_no_sudo(box):
    info, groups = box("docker info -f '{{.Driver}} {{.CgroupVersion}} {{.Images}}'; id -nG").splitlines()
    assert info == "overlay2 2 0"
    assert "docker" in groups.split()


def test_an_image_from_a_tarball_runs_within_limits(box):
    busybox = box.sbx("exec", "box", "cat", "/run/sbx/bin/busybox", binary=True).stdout
    (box.sbx.project / "image.tar").write_bytes(image(busybox))
    assert "loaded:latest" in box("docker load -i image.tar")
    limits = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max"
    printed = box(f"docker run --rm -m 64m --cpus 0.5 --pids-limit 20 loaded sh -c '{limits}'").splitlines()
    assert printed[-2:] == [str(64 << 20), "20"]


def test_an_image_comes_from_a_registry_by_the_policy_and_only_by_it(box, registry, tmp_path):
    (tmp_path / "ca.crt").write_text(box.origin.authority.certificate)
    source, target = f"docker-archive:{box.sbx.project}/image.tar", f"docker://{registry}/team/tool:1"
    subprocess.run(["skopeo", "copy", "-q", "--dest-cert-dir", tmp_path, source, target], check=True, timeout=60)
    assert "Downloaded newer image" in box("docker pull registry.example.com/team/tool:1")
    assert box("docker run --rm registry.example.com/team/tool:1 echo pulled") == "pulled"
    refused = box("docker pull evil.example.org/team/tool:1", code=1)
    assert "sbx policy explain box https://evil.example.org/" in refused
    assert "evil.example.org" in box.sbx("network", "log", "box", "--blocked").stdout


def test_containers_reach_what_the_policy_allows_though_no_variable_tells_them_how(box, registry):
    port = str(registry).rpartition(":")[2]
    allowed = ("https://api.example.com/", "http://api.example.com/")
    denied = ("https://evil.example.org/", "http://169.254.169.254/", f"http://10.0.2.2:{port}/v2/")
    lines = [f"/usr/bin/curl -sS -m 20 {url}" for url in allowed]
    lines += [f"/usr/bin/curl -s -m 20 -o /dev/null -w '%{{http_code}}\\n' {url}" for url in denied]
    lines += [f"/usr/bin/curl -s --proxy http://host.docker.internal:3128 {denied[0]}"]  # who asks learns why
    guests = "-v /usr:/usr:ro -v /etc/ssl/certs:/etc/ssl/certs:ro"  # its curl, and whom it trusts
    before = box.origin.hits().requests
    printed = box(f"docker run --rm {guests} loaded sh -c {shlex.quote('; '.join(lines))}").splitlines()
    assert printed[:5] == [HELLO, HELLO, "000", "403", "000"]
    assert "sbx policy explain box https://evil.example.org/" in printed[-1]
    assert box.origin.hits().requests == before + 2


def test_a_published_port_answers_inside_and_nowhere_else(box):
    serve = "echo published >index.html && exec httpd -f -p 80"
    box(f"docker run -d --name web --restart always -p 8080:80 loaded sh -c {shlex.quote(serve)}")
    assert box(ASK_PUBLISHED) == "published"
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen("http://127.0.0.1:8080/", timeout=5)
    line = "test ! -e /var/run/docker.sock && curl -sS -m 10 http://localhost:8080/"
    assert box.sbx("exec", "plain", "sh", "-c", line, any_code=True).code == 7


@pytest.mark.parametrize("builder", ["DOCKER_BUILDKIT=0 docker build", "docker buildx build --progress plain"])
def test_a_build_reaches_what_the_policy_allows(box, builder):
    context = box.sbx.project / "context"
    context.mkdir(exist_ok=True)
    (context / "Dockerfile").write_text(DOCKERFILE)
    assert f"said: {HELLO}" in box(f"{builder} --no-cache -t built context")


def test_compose_brings_services_up_that_find_each_other_and_takes_them_down(box):
    (box.sbx.project / "compose.yaml").write_text(COMPOSE)
    box("docker compose up -d")
    assert "served by compose" in box("docker compose logs --follow --no-log-prefix client")
    assert box("curl -sS http://localhost:8081/") == "served by compose"
    box("docker compose down -t 1")
    assert box("docker ps -q -f label=com.docker.compose.project") == ""


def test_images_and_containers_survive_a_stop_and_a_killed_machine(box):
    images = box("docker images -q | sort")
    box.sbx("stop", "box")
    box.sbx("start", "box")
    assert box(f"docker images -q | sort; {ASK_PUBLISHED}") == f"{images}\npublished"
    for machine in box.sbx.processes("qemu"):
        os.kill(machine, signal.SIGKILL)
    box.sbx.wait_for(lambda: not box.sbx.processes("qemu"))
    box.sbx("up", "--yes")
    assert box(f"docker images -q | sort; {ASK_PUBLISHED}") == f"{images}\npublished"


def test_an_image_without_a_daemon_is_refused_and_a_new_sandbox_has_nothing_of_the_old(box):
    box("sudo mv /usr/sbin/dockerd /usr/sbin/dockerd.away")
    box.sbx("stop", "box")
    assert "no Docker daemon in the image" in box.sbx("start", "box", any_code=True).stderr
    box.sbx("rm", "box", "--yes")
    box.sbx("up", "--yes")
    assert box("docker images -q; docker ps -aq; docker volume ls -q") == ""
