"""Which virtiofsd, and its arguments."""

import pytest

from sandboxfile.errors import HostError
from sandboxfile.vm import file_servers
from sandboxfile.vm.file_servers import FileServer, file_server_command, find_file_server, flavour_of

C = b"\x7fELF...virtiofsd version %s\0Copyright (c) 2003-2022 Fabrice Bellard and the QEMU Project developers\0"
RUST = b"\x7fELF...--shared-dir--inode-file-handlesWhen to use file handles..."


def test_the_two_programs_are_told_apart_by_what_is_in_them():
    assert flavour_of(C) == "c"
    assert flavour_of(RUST) == "rust"
    with pytest.raises(HostError, match="neither"):
        flavour_of(b"#!/bin/sh\n")


def test_the_program_in_c_is_told_in_its_own_way():
    assert file_server_command(FileServer("/usr/lib/qemu/virtiofsd", "c"), 5) == [
        *("/usr/lib/qemu/virtiofsd", "--fd=5", "-o", "source=/run/share", "-o", "cache=auto"),
        *("-o", "sandbox=namespace", "-o", "no_xattr", "-o", "log_level=warn"),
        *("--thread-pool-size=0", "--rlimit-nofile=0"),
    ]


def test_the_program_in_rust_is_told_in_its_own_way():
    assert file_server_command(FileServer("/usr/libexec/virtiofsd", "rust"), 5) == [
        *("/usr/libexec/virtiofsd", "--fd=5", "--shared-dir=/run/share", "--cache=auto", "--sandbox=namespace"),
        *("--inode-file-handles=never", "--log-level=warn", "--thread-pool-size=0", "--rlimit-nofile=0"),
    ]


def test_the_first_place_that_has_one_wins_then_the_path(tmp_path, monkeypatch):
    first, second = tmp_path / "first", tmp_path / "second"
    monkeypatch.setattr(file_servers, "_PLACES", (str(first), str(second)))
    on_path = tmp_path / "bin/virtiofsd"
    on_path.parent.mkdir()
    on_path.write_bytes(RUST)
    on_path.chmod(0o755)
    monkeypatch.setenv("PATH", str(on_path.parent))
    assert find_file_server() == FileServer(str(on_path), "rust")
    second.write_bytes(C)
    assert find_file_server() == FileServer(str(second), "c")
    first.write_bytes(RUST)
    assert find_file_server() == FileServer(str(first), "rust")


def test_a_host_without_one_is_told_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(file_servers, "_PLACES", (str(tmp_path / "none"),))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError, match="not installed") as caught:
        find_file_server()
    assert "apt install virtiofsd" in (caught.value.hint or "")
