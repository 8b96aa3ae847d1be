"""Small roots and images to fetch, made on the spot."""

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

APPLETS = ("sh", "cat", "date", "echo", "false", "id", "ls", "mkdir", "rm", "sleep", "test", "touch", "true")


@pytest.fixture(scope="session")
def busybox(tmp_path_factory) -> Path:
    """A static busybox, of this host's Debian mirror: a whole userland that needs no other file."""
    work = tmp_path_factory.mktemp("busybox")
    work.chmod(0o755)
    subprocess.run(["apt-get", "download", "busybox-static"], cwd=work, check=True, capture_output=True)
    (package,) = work.glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", str(package), str(work / "unpacked")], check=True)
    return next(path for path in work.rglob("bin/busybox") if path.is_file())


@pytest.fixture(scope="session")
def small_root(busybox, tmp_path_factory) -> Path:
    """A tar of a root like Alpine's: busybox, a few names for it, and files of two owners."""
    tar = tmp_path_factory.mktemp("root") / "root.tar"
    with tarfile.open(tar, "w") as archive:
        for name in ("bin", "etc", "proc", "sys", "dev", "run", "tmp", "root"):
            archive.addfile(entry(name, type=tarfile.DIRTYPE, mode=0o755))
        archive.add(busybox, "bin/busybox", filter=owned)
        for name in APPLETS:
            archive.addfile(entry(f"bin/{name}", type=tarfile.SYMTYPE, linkname="busybox"))
        put(archive, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
        put(archive, "etc/theirs", b"theirs\n", uid=1234)
    return tar


@pytest.fixture
def own_store(tmp_path, monkeypatch) -> Path:
    """Local images and working containers of this test alone, wherever the host keeps its own."""
    config = tmp_path / "storage.conf"
    root = tmp_path / "storage"
    config.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{root}"\nrunroot = "{tmp_path}/storage-run"\n')
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(config))
    return root


def entry(name: str, **fields) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(member, field, value)
    return member


def put(archive: tarfile.TarFile, name: str, data: bytes, **fields) -> None:
    import io

    archive.addfile(entry(name, size=len(data), **fields), io.BytesIO(data))


def owned(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


@pytest.fixture
def make_layer(tmp_path):
    """`make_layer(name=content, ...)`: a tar with these files; `None` for content is a directory."""
    made = []

    def make(**files: bytes | None) -> Path:
        path = tmp_path / f"layer{len(made)}.tar"
        made.append(path)
        with tarfile.open(path, "w") as archive:
            for name, data in files.items():
                if data is None:
                    archive.addfile(entry(name, type=tarfile.DIRTYPE, mode=0o755))
                else:
                    put(archive, name, data)
        return path

    return make


@pytest.fixture
def reports():
    """What was reported: `reports.append` is what to give."""
    return []


@pytest.fixture
def skopeo(monkeypatch):
    """Run skopeo, for what a test puts somewhere by itself."""

    def run(*arguments: str) -> str:
        done = subprocess.run(["skopeo", *arguments], capture_output=True, text=True, env=os.environ)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
