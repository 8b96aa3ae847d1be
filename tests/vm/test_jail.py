"""The command that shuts QEMU in, and what is said when that fails."""

import pytest

from sandboxfile.errors import HostError, MachineError
from sandboxfile.vm import jail


@pytest.fixture
def command(monkeypatch):
    monkeypatch.setattr(jail, "_program", lambda name, package: f"/usr/bin/{name}")
    return jail.bubblewrap_command(["/usr/bin/qemu", "-x"], config=7, program_filter=8, status=9, kvm=False)


def mounts(command, option):
    return [tuple(command[i + 1 : i + 3]) for i, word in enumerate(command) if word == option]


def test_the_jail_has_every_namespace_but_the_network_which_is_made_outside(command):
    assert {"--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup"} <= set(command)
    assert not {"--unshare-net", "--share-net", "--unshare-all", "--proc", "--bind"} & set(command)
    assert {"--disable-userns", "--die-with-parent", "--new-session", "--as-pid-1", "--clearenv"} <= set(command)
    assert command[command.index("--cap-drop") + 1] == "ALL"


def test_only_libraries_qemu_and_the_machines_files_are_seen(command):
    assert all(
        source.startswith(("/usr/lib", "/usr/share/qemu", "/usr/bin/qemu", "/run/"))
        for source, _ in mounts(command, "--ro-bind")
    )
    assert {target for source, target in mounts(command, "--ro-bind") if source.startswith("/run/")} == {
        *("/vmlinux", "/initrd", "/firmware")
    }
    assert {source for source, _ in mounts(command, "--dev-bind")} == {"/dev/null", "/dev/zero", "/dev/urandom"}
    assert mounts(command, "--ro-bind-data") == [("7", "/config")]


def test_the_root_is_read_only_before_the_program_runs_under_the_filter(command):
    end = command.index("--")
    assert command[end - 6 : end] == ["--seccomp", "8", "--remount-ro", "/", "--chdir", "/"]
    assert command[end + 1 :] == ["/usr/bin/qemu", "-x"]


def test_kvm_adds_its_device_and_nothing_else(command):
    with_kvm = jail.bubblewrap_command(["/usr/bin/qemu", "-x"], config=7, program_filter=8, status=9, kvm=True)
    extra = list(with_kvm)
    for word in command:
        extra.remove(word)
    assert extra == ["--dev-bind", "/dev/kvm", "/dev/kvm"]


def test_a_missing_program_is_named_with_its_package(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(HostError, match="qemu-system-x86_64 is not installed") as caught:
        jail.qemu_program()
    assert caught.value.hint == "install it: apt install qemu-system-x86"


def test_complaints_of_bubblewrap_are_the_hosts_fault_and_others_are_passed_on():
    cause = MachineError("QEMU did not start")
    refused = jail.jail_failure(cause, "bwrap: No permissions to create new namespace\n")
    assert isinstance(refused, HostError)
    assert "user namespaces must be allowed" in (refused.hint or "")
    broken = jail.jail_failure(cause, "qemu: bad disk\n")
    assert isinstance(broken, MachineError)
    assert (broken.message, broken.output) == ("QEMU did not start", "qemu: bad disk\n")
    assert isinstance(jail.jail_failure(ProcessLookupError(3, "No such process"), ""), MachineError)


def test_limits_leave_room_for_the_guest_and_are_finite():
    limits = jail.limits(4 << 30)
    assert limits["CORE"] == 0
    assert 4 << 30 < limits["AS"] < 16 << 30
