"""What QEMU is told."""

import dataclasses
import json

import pytest

from sandboxfile.vm import machine
from sandboxfile.vm.machine import (
    Descriptors,
    MachineSpec,
    boot_fingerprint,
    kernel_command_line,
    mebibytes,
    qemu_arguments,
)

SPEC = MachineSpec(2, 512 << 20, "tcg", 2596138, ("sbx.0", "sbx.1"), slots=2)
DESCRIPTORS = Descriptors(qmp=10, console=11, ports=(12, 13), base=14, disk=15, tools=16)

GOLDEN = """
-nodefaults -no-user-config -display none -no-reboot
-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
-machine microvm,acpi=on,rtc=on,pcie=on,memory-backend=mem -accel tcg,thread=multi -cpu max -smp 2
-m 512M -object memory-backend-memfd,id=mem,size=512M,share=on
-bios /firmware -kernel /vmlinux -initrd /initrd
-append {append}
-fw_cfg name=opt/sbx/config,file=/config
-chardev socket,id=qmp,fd=10 -mon chardev=qmp,mode=control
-chardev socket,id=console,fd=11 -serial chardev:console
-add-fd fd=14,set=1 -add-fd fd=15,set=2 -add-fd fd=16,set=3
-blockdev {base} -blockdev {disk} -blockdev {tools}
-device virtio-blk-pci,drive=disk -device virtio-blk-pci,drive=tools
-device virtio-serial-pci,max_ports=3
-chardev socket,id=port1,fd=12 -device virtserialport,nr=1,chardev=port1,name=sbx.0
-chardev socket,id=port2,fd=13 -device virtserialport,nr=2,chardev=port2,name=sbx.1
-netdev user,id=net0,ipv6=off,net=10.0.2.0/24,host=10.0.2.2 -device virtio-net-pci,netdev=net0,romfile=
-device virtio-rng-pci -device virtio-balloon-pci,free-page-reporting=on
-device pcie-root-port,id=slot0,chassis=1,slot=1,addr=0x10.0,multifunction=on,io-reserve=0
-device pcie-root-port,id=slot1,chassis=2,slot=2,addr=0x10.1,io-reserve=0
"""
APPEND = (
    "console=ttyS0 reboot=t panic=-1 quiet loglevel=4 cryptomgr.notests no_timer_check pcie_ports=native"
    " tsc_early_khz=2596138"
)
BASE = {
    **{"driver": "raw", "node-name": "base", "read-only": True},
    "file": {"driver": "file", "filename": "/dev/fdset/1", "read-only": True},
}
DISK = {
    **{"driver": "qcow2", "node-name": "disk", "backing": "base"},
    "file": {"driver": "file", "filename": "/dev/fdset/2", "discard": "unmap"},
    **{"discard": "unmap", "detect-zeroes": "unmap"},
}
TOOLS = {
    **{"driver": "raw", "node-name": "tools", "read-only": True},
    "file": {"driver": "file", "filename": "/dev/fdset/3", "read-only": True},
}


def test_the_arguments_are_these_and_no_others():
    values = {"{append}": APPEND, "{base}": json.dumps(BASE), "{disk}": json.dumps(DISK), "{tools}": json.dumps(TOOLS)}
    assert qemu_arguments(SPEC, DESCRIPTORS) == [values.get(word, word) for word in GOLDEN.split()]


def test_there_is_no_path_of_the_host_and_no_other_way_out_than_the_one_network_device():
    arguments = qemu_arguments(SPEC, DESCRIPTORS)
    assert [word for word in arguments if word.startswith("/")] == ["/firmware", "/vmlinux", "/initrd"]
    assert arguments.count("-netdev") == 1
    forwards = ("hostfwd", "guestfwd", "smb=", "tftp", "restrict", "script", "ipv6=on")
    assert not [word for word in arguments if any(forward in word for forward in forwards)]


def test_kvm_needs_neither_a_rate_nor_another_machine():
    kvm = qemu_arguments(dataclasses.replace(SPEC, accelerator="kvm"), DESCRIPTORS)
    tcg = qemu_arguments(SPEC, DESCRIPTORS)
    changed = {ours: theirs for ours, theirs in zip(tcg, kvm, strict=True) if ours != theirs}
    assert changed == {"tcg,thread=multi": "kvm", "max": "host", APPEND: APPEND.removesuffix(" tsc_early_khz=2596138")}


def test_an_unknown_rate_is_not_made_up():
    assert "tsc" not in kernel_command_line(dataclasses.replace(SPEC, tsc_khz=None))


def test_root_ports_share_devices_eight_by_eight_and_each_has_its_own_number():
    ports = [w for w in qemu_arguments(dataclasses.replace(SPEC, slots=16), DESCRIPTORS) if "pcie-root-port" in w]
    fields = [dict(field.split("=") for field in port.split(",")[1:]) for port in ports]
    assert [field["addr"] for field in fields] == [f"{device:#x}.{f}" for device in (0x10, 0x11) for f in range(8)]
    assert len({field["slot"] for field in fields}) == len({field["chassis"] for field in fields}) == 16


def test_the_kernel_command_line_stays_below_its_limit():
    assert len(kernel_command_line(SPEC)) < 2048


@pytest.mark.parametrize(("size", "expected"), [(1, 1), (1 << 20, 1), ((1 << 20) + 1, 2), (2 << 30, 2048)])
def test_memory_is_rounded_up_to_whole_mebibytes(size, expected):
    assert mebibytes(size) == expected


def test_the_boot_fingerprint_tells_what_only_a_restart_changes():
    same = dataclasses.replace(SPEC, accelerator="kvm", tsc_khz=None)
    assert boot_fingerprint(same) == boot_fingerprint(SPEC)
    for change in ({"cpus": 3}, {"memory": 1 << 30}, {"ports": ("sbx.0",)}, {"slots": 3}):
        assert boot_fingerprint(dataclasses.replace(SPEC, **change)) != boot_fingerprint(SPEC), change


def test_the_boot_fingerprint_covers_the_network(monkeypatch):
    before = boot_fingerprint(SPEC)
    monkeypatch.setattr(machine, "_NETWORK", ())
    assert boot_fingerprint(SPEC) != before
