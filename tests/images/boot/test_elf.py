"""What programs need, compared with what binutils says where it is installed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sandboxfile.images.boot.elf import closure, needed


@pytest.mark.skipif(shutil.which("readelf") is None, reason="readelf is not installed")
@pytest.mark.parametrize("path", ["/bin/sh", "/bin/tar", sys.executable])
def test_needed_libraries_are_those_that_readelf_lists(path):
    listed = subprocess.run(["readelf", "-d", path], capture_output=True, text=True, check=True).stdout
    expected = [line.split("[")[1].rstrip("]") for line in listed.splitlines() if "(NEEDED)" in line]
    assert list(needed(Path(path).read_bytes())) == expected


def test_what_is_no_elf_file_is_refused():
    with pytest.raises(ValueError, match="ELF"):
        needed(b"#!/bin/sh\n")


def test_the_closure_holds_what_libraries_need_themselves_once(monkeypatch):
    libraries = {"a": b"a", "b": b"b", "c": b"c"}
    graph = {b"program": ("a",), b"a": ("b", "c"), b"b": ("c",), b"c": ("a",)}
    monkeypatch.setattr("sandboxfile.images.boot.elf.needed", lambda image: graph[image])
    assert closure([b"program"], libraries.__getitem__) == libraries


def test_a_missing_library_is_said(monkeypatch):
    monkeypatch.setattr("sandboxfile.images.boot.elf.needed", lambda image: ("gone",))
    with pytest.raises(KeyError, match="gone"):
        closure([b"program"], {}.__getitem__)
