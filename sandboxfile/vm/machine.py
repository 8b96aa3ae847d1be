"""What QEMU is told: a machine as arguments. Pure: no files, no descriptors opened, nothing looked up.

Its one network device ends in QEMU itself, which dials in the jail's network for the guest. Everything else that it
reads or writes is a descriptor that it inherits; the names in `VMLINUX`, `INITRD`, `CONFIG` and `FIRMWARE` are those
inside the jail (`jail.py`).
"""

import json
from dataclasses import dataclass
from typing import Any, Literal

from sandboxfile.model.desired import PLACES
from sandboxfile.model.fingerprint import fingerprint

Accelerator = Literal["kvm", "tcg"]

SLOTS = PLACES  # ports for hotplug: shares come and go while the machine runs; each costs 8 ms of boot under TCG
DISK_NODE = "disk"
VMLINUX, INITRD, CONFIG, FIRMWARE = "/vmlinux", "/initrd", "/config", "/firmware"
CONFIG_KEY = "opt/sbx/config"

_MIB = 1 << 20
_ROOT_PORT_DEVICE = 0x10  # first PCI device number of the root ports, clear of those that QEMU hands out itself
# romfile: QEMU would look for a boot ROM that the jail does not have.
_NETWORK = (
    *("-netdev", "user,id=net0,ipv6=off,net=10.0.2.0/24,host=10.0.2.2"),
    *("-device", "virtio-net-pci,netdev=net0,romfile="),
)
_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """A machine's shape. `memory` in bytes (rounded up to MiB); `ports` are names of virtio-serial ports.

    `tsc_khz` is the host's TSC rate: without it microvm under TCG hangs at boot in one run of ten, because the kernel
    finds nothing to calibrate against (measured; facts of the project). `slots` is how many shares fit at once.
    """

    cpus: int
    memory: int
    accelerator: Accelerator
    tsc_khz: int | None
    ports: tuple[str, ...]
    slots: int = SLOTS


@dataclass(frozen=True, slots=True)
class Descriptors:
    """Numbers of the descriptors that QEMU inherits. `ports` in the order of `MachineSpec.ports`; `monitor` listens."""

    qmp: int
    console: int
    ports: tuple[int, ...]
    base: int
    disk: int
    tools: int
    monitor: int | None = None


def qemu_arguments(spec: MachineSpec, descriptors: Descriptors) -> list[str]:
    """QEMU's arguments, without the program itself."""
    return [
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-sandbox", _SANDBOX),
        *_processor_and_memory(spec),
        *("-bios", FIRMWARE, "-kernel", VMLINUX, "-initrd", INITRD, "-append", kernel_command_line(spec)),
        *("-fw_cfg", f"name={CONFIG_KEY},file={CONFIG}"),
        *("-chardev", f"socket,id=qmp,fd={descriptors.qmp}", "-mon", "chardev=qmp,mode=control"),
        *_monitor(descriptors),
        *("-chardev", f"socket,id=console,fd={descriptors.console}", "-serial", "chardev:console"),
        *_disks(descriptors),
        *_serial_ports(spec, descriptors),
        *_NETWORK,
        *("-device", "virtio-rng-pci", "-device", "virtio-balloon-pci,free-page-reporting=on"),
        *_root_ports(spec.slots),
    ]


def kernel_command_line(spec: MachineSpec) -> str:
    """The guest kernel's arguments."""
    words = "console=ttyS0 reboot=t panic=-1 quiet loglevel=4 cryptomgr.notests no_timer_check pcie_ports=native"
    if spec.accelerator == "tcg" and spec.tsc_khz is not None:
        return f"{words} tsc_early_khz={spec.tsc_khz}"
    return words


def boot_fingerprint(spec: MachineSpec) -> str:
    """Names everything about a machine that only a restart can change."""
    shape = {"cpus": spec.cpus, "memory": mebibytes(spec.memory), "ports": spec.ports, "slots": spec.slots}
    return fingerprint({**shape, "network": _NETWORK})


def slot_bus(slot: int) -> str:
    """The bus (a root port's id) of a hotplug slot, counted from 0."""
    return f"slot{slot}"


def mebibytes(size: int) -> int:
    """Bytes as whole MiB, rounded up."""
    return -(-size // _MIB)


def _processor_and_memory(spec: MachineSpec) -> list[str]:
    memory = f"{mebibytes(spec.memory)}M"
    kvm = spec.accelerator == "kvm"
    return [
        *("-machine", "microvm,acpi=on,rtc=on,pcie=on,memory-backend=mem"),
        *("-accel", "kvm" if kvm else "tcg,thread=multi", "-cpu", "host" if kvm else "max", "-smp", str(spec.cpus)),
        # Shared, because the file servers of the workspaces map the guest's memory.
        *("-m", memory, "-object", f"memory-backend-memfd,id=mem,size={memory},share=on"),
    ]


def _disks(descriptors: Descriptors) -> list[str]:
    """vda: the sandbox's overlay on its image. vdb: our tools. Backing is named here, in no file's header."""

    def file(set_number: int, **options: Any) -> dict[str, Any]:
        return {"driver": "file", "filename": f"/dev/fdset/{set_number}", **options}

    read_only = {"read-only": True}
    nodes = [
        {"driver": "raw", "node-name": "base", **read_only, "file": file(1, **read_only)},
        {
            **{"driver": "qcow2", "node-name": DISK_NODE, "backing": "base", "file": file(2, discard="unmap")},
            **{"discard": "unmap", "detect-zeroes": "unmap"},
        },
        {"driver": "raw", "node-name": "tools", **read_only, "file": file(3, **read_only)},
    ]
    sets = [(descriptors.base, 1), (descriptors.disk, 2), (descriptors.tools, 3)]
    arguments = [word for fd, number in sets for word in ("-add-fd", f"fd={fd},set={number}")]
    arguments += [word for node in nodes for word in ("-blockdev", json.dumps(node))]
    return [
        *arguments,
        *(word for name in (DISK_NODE, "tools") for word in ("-device", f"virtio-blk-pci,drive={name}")),
    ]


def _monitor(descriptors: Descriptors) -> list[str]:
    """A second QMP monitor, which anybody whom the listening socket lets in may use."""
    if descriptors.monitor is None:
        return []
    chardev = f"socket,id=monitor,fd={descriptors.monitor},server=on,wait=off"
    return ["-chardev", chardev, "-mon", "chardev=monitor,mode=control"]


def _serial_ports(spec: MachineSpec, descriptors: Descriptors) -> list[str]:
    arguments = ["-device", f"virtio-serial-pci,max_ports={len(spec.ports) + 1}"]
    for number, (name, fd) in enumerate(zip(spec.ports, descriptors.ports, strict=True), 1):
        arguments += ["-chardev", f"socket,id=port{number},fd={fd}"]
        arguments += ["-device", f"virtserialport,nr={number},chardev=port{number},name={name}"]
    return arguments


def _root_ports(slots: int) -> list[str]:
    """Eight functions a device. No I/O window: there is little I/O space, and virtio devices need none."""
    arguments = []
    for slot in range(slots):
        device, function = _ROOT_PORT_DEVICE + slot // 8, slot % 8
        place = f"addr={device:#x}.{function}" + (",multifunction=on" if function == 0 else "")
        # Chassis and slot must be unique and name the port in the guest: /sys/bus/pci/slots/NUMBER.
        numbers = f"chassis={slot + 1},slot={slot + 1}"
        arguments += ["-device", f"pcie-root-port,id={slot_bus(slot)},{numbers},{place},io-reserve=0"]
    return arguments
