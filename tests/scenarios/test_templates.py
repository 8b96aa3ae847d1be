"""One scenario for sandboxes from six kinds of image: it does not matter where a root comes from.

The Debian ones come from the built-in `shell`: exported to the store of local images, built upon by a Dockerfile,
saved. The others are a root with musl and busybox: in a registry on loopback, and as a plain tar.
"""

import subprocess

import pytest

from ..images.registry import running_registry
from .roots import musl_root, pack

pytestmark = pytest.mark.vm

LOCAL = "localhost/sbx-test/shell:latest"
FILE = """\
templates:
  tiny: {{base: "oci:{registry}/team/tiny:1"}}
  plain: {{base: "tar:./tiny.tar.gz"}}
  local: {{base: "docker:{local}"}}
  built: {{build: {{context: ./image, args: {{WORD: given}}}}}}
  kept: {{base: "saved:kept"}}
defaults:
  resources: {{cpus: 1, memory: 512MiB, disk: 2GiB}}
  policy: {{allow: [api.example.com]}}
  workspaces: [./work:/work]
sandboxes:
  shell: {{}}
  tiny: {{template: tiny}}
  plain: {{template: plain}}
  local: {{template: local}}
  built: {{template: built}}
  kept: {{template: kept}}
"""
DOCKERFILE = f"""\
FROM {LOCAL}
ARG WORD=none
ENV GREETING="hello from the image"
RUN echo "$WORD" >/etc/word && rm -f /etc/issue
"""
SANDBOXES = ("shell", "tiny", "plain", "local", "built", "kept")
DEBIAN = ("shell", "local", "built", "kept")


@pytest.fixture(scope="module")
def boxes(module_sbx, module_origin, tmp_path_factory):
    """Six sandboxes that run. `.read(name, line)` gives what a shell line prints inside."""
    sbx, work = module_sbx, tmp_path_factory.mktemp("images")
    (sbx.project / "work").mkdir()
    root = musl_root(work / "tiny")
    pack(root, sbx.project / "tiny.tar.gz")
    (sbx.project / "image").mkdir()
    (sbx.project / "image/Dockerfile").write_text(DOCKERFILE)
    own_image_store(sbx, work)
    with running_registry(work / "registry") as registry:
        push(root, f"{registry}/team/tiny:1", work, sbx)
        sbx.write(FILE.format(registry=registry, local=LOCAL))
        sbx("template", "export", "shell", "--to", f"containers-storage:{LOCAL}")
        sbx("up", "--yes", "shell")
        sbx("exec", "--user", "root", "shell", "sh", "-c", "echo kept >/etc/kept && rm /etc/issue")
        sbx("exec", "shell", "sh", "-c", "echo mine >~/mine && echo not-mine >/work/not-mine")
        sbx("save", "shell", "kept")
        sbx("up", "--yes")

        def read(name, line, *options):
            return sbx("exec", *options, name, "sh", "-c", line, any_code=True).stdout.strip()

        sbx.read = read
        yield sbx
        sbx("down", "--yes")


def own_image_store(sbx, work):
    """Local images of this test alone, wherever the host keeps its own."""
    store = work / "storage.conf"
    store.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{work}/storage"\nrunroot = "{work}/run"\n')
    sbx.variables["CONTAINERS_STORAGE_CONF"] = str(store)


def push(root, reference, work, sbx):
    """Build an image with an environment of its own, and push it."""
    (work / "Dockerfile").write_text("FROM scratch\nCOPY tiny/musl /\nENV GREETING=hello-from-the-registry\n")
    environment = sbx.environment
    subprocess.run(
        ["buildah", "bud", "--quiet", "--isolation", "chroot", "--tag", "localhost/tiny", str(work)],
        check=True, capture_output=True, env=environment,
    )  # fmt: skip
    subprocess.run(
        ["skopeo", "copy", "--quiet", "--dest-tls-verify=false", "containers-storage:localhost/tiny", f"docker://{reference}"],
        check=True, capture_output=True, env=environment,
    )  # fmt: skip


@pytest.mark.parametrize("name", SANDBOXES)
def test_it_runs_commands_as_the_agent_and_as_root(boxes, name):
    assert boxes.read(name, "id -u; id -un; cd; pwd") == "1000\nagent\n/home/agent"
    assert boxes.read(name, "id -u", "--user", "root") == "0"
    assert boxes("exec", name, "sh", "-c", "exit 7", any_code=True).code == 7
    if name in DEBIAN:
        assert boxes.read(name, "sudo -n id -u") == "0"
    else:
        assert boxes.read(name, "hello; command -v bash apt-get sudo") == "hello from musl"


@pytest.mark.parametrize("name", SANDBOXES)
def test_the_workspace_is_the_hosts_directory(boxes, name):
    boxes.read(name, f"echo {name} >/work/by-{name}")
    assert (boxes.project / "work" / f"by-{name}").read_text() == f"{name}\n"
    assert boxes.read(name, "touch x 2>/dev/null; pwd") == "/work"


@pytest.mark.parametrize("name", SANDBOXES)
def test_the_network_is_the_policys(boxes, name):
    client = "wget -q -O-" if name not in DEBIAN else "curl -sS"
    assert boxes.read(name, f"{client} http://api.example.com/") == "hello from the origin"
    assert "hello" not in boxes.read(name, f"{client} http://evil.example.org/ 2>&1")
    if name in DEBIAN:
        assert boxes.read(name, "curl -sS https://api.example.com/") == "hello from the origin"


def test_each_has_what_its_image_has(boxes):
    assert boxes.read("tiny", "echo $GREETING") == "hello-from-the-registry"
    assert boxes.read(
        "built", "echo $GREETING; cat /etc/word; ls /etc/issue 2>&1 | wc -l; test -e /etc/issue; echo $?"
    ) == ("hello from the image\ngiven\n1\n1")
    assert boxes.read("kept", "cat /etc/kept ~/mine; test -e /etc/issue; echo $?") == "kept\nmine\n1"
    assert boxes.read("local", "test -e /etc/kept; echo $?; test -e /etc/issue; echo $?") == "1\n0"


def test_no_image_carries_the_identity_of_another_machine(boxes):
    ids = {boxes.read(name, "cat /etc/machine-id") for name in SANDBOXES}
    assert len(ids) == len(SANDBOXES)
    for name in SANDBOXES:
        assert boxes.read(name, "hostname; cat /etc/hostname") == f"{name}\n{name}"
        certificates = boxes.read(name, "grep -c '^# sandboxfile authority' /etc/ssl/certs/ca-certificates.crt")
        assert certificates == "1", name


def test_a_workspace_is_no_part_of_what_is_saved(boxes):
    files = boxes("template", "inspect", "kept", "--files").stdout
    assert "etc/kept" in files
    assert "not-mine" not in files


def test_a_second_up_finds_nothing_to_do(boxes):
    assert boxes("plan", "--detailed-exitcode").code == 0
