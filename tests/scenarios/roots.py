"""What sandboxes of scenarios stand on: one template for all that `shell` is too small for, and small roots.

The roots have nothing of Debian's in them; they are made on the spot from packages of this host's mirror.
"""

import subprocess
import tarfile
from pathlib import Path

# One set of packages, so that an empty cache gets one image of it. What `base` has besides takes longer to boot.
CLIENTS = "{packages: {apt: [wget, python3, python3-requests, python3-pip, nodejs, npm, ripgrep]}}"

_PROGRAM = '#include <stdio.h>\nint main(void) { puts("hello from musl"); return 0; }\n'
_LINKS = ("sh", "cat", "cp", "env", "id", "ls", "mkdir", "printf", "rm", "sleep", "test", "touch", "true", "wget")
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/os-release": 'ID=tiny\nNAME="Tiny"\n',
}


def musl_root(work: Path) -> Path:
    """A directory like Alpine's root: busybox for everything, musl for what is linked, `/usr/bin/hello` linked so."""
    root = work / "musl"
    packages = work / "packages"
    packages.mkdir(parents=True)
    for name in ("busybox-static", "musl"):
        _run(["apt-get", "download", name], cwd=packages)
    for package in sorted(packages.glob("*.deb")):
        _run(["dpkg-deb", "-x", str(package), str(work / "unpacked")])
    for name in ("bin", "dev", "etc", "lib", "proc", "root", "sys", "tmp", "usr/bin", "var"):
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    busybox = root / "bin/busybox"
    busybox.write_bytes(next(path for path in (work / "unpacked").rglob("busybox") if path.is_file()).read_bytes())
    busybox.chmod(0o755)
    for name in _LINKS:
        (root / "bin" / name).symlink_to("busybox")
    loader = root / "lib/ld-musl-x86_64.so.1"
    loader.write_bytes(next((work / "unpacked").rglob("libc.so")).read_bytes())
    loader.chmod(0o755)
    for name, text in _FILES.items():
        (root / name).write_text(text)
    source = work / "hello.c"
    source.write_text(_PROGRAM)
    _run(["musl-gcc", "-o", str(root / "usr/bin/hello"), str(source)])
    return root


def pack(root: Path, tar: Path) -> Path:
    """The tree below `root` as a gzipped tar, owned by root."""

    def owned(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        return member

    with tarfile.open(tar, "w:gz") as archive:
        archive.add(root, ".", filter=owned)
    return tar


def _run(command: list[str], cwd: Path | None = None) -> None:
    subprocess.run(command, cwd=cwd, check=True, capture_output=True)
