"""Registries of one tiny package each, made by hand: npm's, a simple index of Python's, a Debian archive.

    /npm/origin-sample                    a packument; its tarball beside it
    /simple/origin-sample/                PEP 503; the wheel beside it
    /debian dists/stable, component main  for any architecture; unsigned (`[trusted=yes]`)

Each package says SAYS, as `require('origin-sample')`, `origin_sample.SAYS` and the program `origin-sample`.
"""

import base64
import gzip
import hashlib
import io
import json
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from .messages import Incoming, Response

NAME = "origin-sample"
VERSION = "1.0.0"
SAYS = "said by the sample package"
_MODULE = "origin_sample"
_TARBALL = f"{NAME}-{VERSION}.tgz"
_WHEEL = f"{_MODULE}-{VERSION}-py3-none-any.whl"
_DEB = f"{NAME}_{VERSION}_all.deb"
_ARCHITECTURES = ("amd64", "arm64")


class Shelf:
    """Files by path, all in memory; and the one document that names its own address."""

    def __init__(self) -> None:
        self._tarball = npm_tarball()
        self._files = {f"/npm/{NAME}/-/{_TARBALL}": self._tarball, **_python_files(wheel()), **_debian_files(deb())}

    def answer(self, incoming: Incoming) -> Response:
        path = incoming.path
        if path == f"/npm/{NAME}":
            return Response(headers=[("Content-Type", "application/json")], body=self._packument(incoming.base))
        if (content := self._files.get(path)) is None:
            return Response(404)
        kind = "text/html" if path.endswith("/") else "application/octet-stream"
        return Response(headers=[("Content-Type", kind)], body=content)

    def _packument(self, base: str) -> bytes:
        dist = {
            "tarball": f"{base}/npm/{NAME}/-/{_TARBALL}",
            "shasum": hashlib.sha1(self._tarball).hexdigest(),
            "integrity": "sha512-" + base64.b64encode(hashlib.sha512(self._tarball).digest()).decode(),
        }
        version = {"name": NAME, "version": VERSION, "main": "index.js", "dist": dist}
        return json.dumps({"name": NAME, "dist-tags": {"latest": VERSION}, "versions": {VERSION: version}}).encode()


def npm_tarball() -> bytes:
    files = {
        "package/package.json": json.dumps({"name": NAME, "version": VERSION, "main": "index.js"}),
        "package/index.js": f"module.exports = {SAYS!r};\n",
    }
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return gzip.compress(plain.getvalue(), mtime=0)


def wheel() -> bytes:
    information = f"{_MODULE}-{VERSION}.dist-info"
    files = {
        f"{_MODULE}/__init__.py": f"SAYS = {SAYS!r}\n",
        f"{information}/METADATA": f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {VERSION}\n",
        f"{information}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},sha256={_url_hash(text)},{len(text)}\n" for name, text in files.items())
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in (files | {f"{information}/RECORD": f"{record}{information}/RECORD,,\n"}).items():
            archive.writestr(name, text)
    return packed.getvalue()


def _url_hash(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


def _python_files(content: bytes) -> Mapping[str, bytes]:
    link = f'<a href="{_WHEEL}#sha256={hashlib.sha256(content).hexdigest()}">{_WHEEL}</a>'
    return {
        f"/simple/{NAME}/": f"<!DOCTYPE html><html><body>{link}</body></html>".encode(),
        f"/simple/{NAME}/{_WHEEL}": content,
    }


def deb() -> bytes:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "root"
        program = root / f"usr/bin/{NAME}"
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\necho '{SAYS}'\n")
        (root / "DEBIAN").mkdir()
        (root / "DEBIAN/control").write_text(_CONTROL)
        for path in (root, root / "DEBIAN", root / "usr", root / "usr/bin", program):
            path.chmod(0o755)
        made = Path(name) / _DEB
        build = ["dpkg-deb", "--build", "--root-owner-group", "-Zgzip", str(root), str(made)]
        subprocess.run(build, check=True, capture_output=True)
        return made.read_bytes()


_CONTROL = f"""\
Package: {NAME}
Version: {VERSION}
Architecture: all
Maintainer: Nobody <nobody@example.com>
Description: a sample
"""


def _debian_files(content: bytes) -> Mapping[str, bytes]:
    pool = f"pool/main/{_DEB}"
    entry = f"{_CONTROL}Filename: {pool}\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n\n"
    lists = {f"main/binary-{architecture}/Packages": entry.encode() for architecture in _ARCHITECTURES}
    sums = "".join(f" {hashlib.sha256(text).hexdigest()} {len(text)} {name}\n" for name, text in lists.items())
    release = (
        f"Origin: tests\nSuite: stable\nCodename: stable\nDate: Thu, 01 Jan 2026 00:00:00 UTC\n"
        f"Architectures: {' '.join(_ARCHITECTURES)}\nComponents: main\nSHA256:\n{sums}"
    )
    files = {f"/debian/dists/stable/{name}": text for name, text in lists.items()}
    return files | {"/debian/dists/stable/Release": release.encode(), f"/debian/{pool}": content}
