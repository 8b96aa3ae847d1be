"""The choice of an accelerator: probed, remembered, overridden."""

import sys
import time

import anyio
import pytest

from sandboxfile.errors import HostError
from sandboxfile.host.layout import Layout
from sandboxfile.vm import accel
from sandboxfile.vm.accel import Acceleration, choose_accelerator, probe, tsc_khz

pytestmark = pytest.mark.anyio

BOOTS = (
    "print('[ 0.3] Kernel panic - not syncing: VFS: Unable to mount root fs', flush=True); import time; time.sleep(60)"
)
HANGS = "print('Linux version', flush=True); import time; time.sleep(60)"
ABORTS = "print('qemu: failed to set MSR 0x10a'); raise SystemExit(1)"


def python(script):
    return [sys.executable, "-c", script]


async def test_a_kernel_that_reaches_its_root_disk_in_time_is_kvm():
    found = await probe(python(BOOTS), 20)
    assert found.accelerator == "kvm"


async def test_a_kernel_that_is_too_slow_is_not_waited_for_and_not_left_running():
    started = time.monotonic()
    found = await probe(python(HANGS), 0.3)
    assert found == Acceleration("tcg", "KVM is there and too slow: a probe boot took more than 0.3 s")
    assert time.monotonic() - started < 10


async def test_a_qemu_that_aborts_gives_its_reason():
    found = await probe(python(ABORTS), 20)
    assert found == Acceleration("tcg", "KVM is there and does not work: qemu: failed to set MSR 0x10a")


async def test_a_cancelled_probe_leaves_nothing():
    script = "import os, sys; print('x' * (1 << 21), flush=True)"
    with anyio.move_on_after(0.2):
        await probe(python(HANGS), 20)
    assert (await probe(python(script), 20)).accelerator == "tcg", "a flood ends the probe"


@pytest.fixture
def probes(monkeypatch):
    """A host with /dev/kvm, whose probe gives the first of these; what was probed is counted by what is left."""
    results = [Acceleration("kvm", "first"), Acceleration("tcg", "second"), Acceleration("kvm", "third")]

    async def answer(command, deadline):
        return results.pop(0)

    monkeypatch.setattr(accel, "probe", answer)
    monkeypatch.setattr(accel, "kvm_problem", lambda: None)
    return results


@pytest.fixture
def layout(tmp_path):
    (tmp_path / "cache").mkdir()
    return Layout(tmp_path / "state", tmp_path / "cache", tmp_path / "run")


async def test_the_answer_is_remembered_for_this_boot_qemu_and_kernel(layout, probes, tmp_path, monkeypatch):
    qemu = tmp_path / "qemu"
    qemu.write_text("one")
    monkeypatch.setattr(accel, "qemu_program", lambda: str(qemu))

    async def choose(kernel):
        return (await choose_accelerator(layout, tmp_path / "vmlinux", kernel, {})).reason

    assert [await choose("a"), await choose("a")] == ["first", "first"]
    assert await choose("b") == "second"
    qemu.write_text("another")
    assert await choose("b") == "third"


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"version": 99, "key": "x", "accelerator": "kvm", "reason": ""}'])
async def test_a_record_that_cannot_be_used_is_as_good_as_none(layout, probes, tmp_path, text):
    layout.accelerator_record.write_text(text)
    assert (await choose_accelerator(layout, tmp_path / "vmlinux", "a", {})).reason == "first"


async def test_the_user_overrides_every_probe(layout, probes, tmp_path):
    for wanted in ("kvm", "tcg"):
        found = await choose_accelerator(layout, tmp_path / "vmlinux", "a", {"SBX_ACCEL": wanted})
        assert found == Acceleration(wanted, f"SBX_ACCEL={wanted}")
    with pytest.raises(HostError, match="SBX_ACCEL=hvf"):
        await choose_accelerator(layout, tmp_path / "vmlinux", "a", {"SBX_ACCEL": "hvf"})
    assert len(probes) == 3


async def test_a_host_without_kvm_is_not_probed(layout, probes, tmp_path, monkeypatch):
    monkeypatch.setattr(accel, "kvm_problem", lambda: "this host has no /dev/kvm")
    found = await choose_accelerator(layout, tmp_path / "vmlinux", "a", {})
    assert found == Acceleration("tcg", "this host has no /dev/kvm")
    assert len(probes) == 3
    assert not layout.accelerator_record.exists()


@pytest.mark.parametrize(
    ("path", "said"), [("/nonexistent/kvm", "this host has no"), ("/proc/self/mem/kvm", "cannot be opened")]
)
def test_what_is_wrong_with_the_device_is_said(monkeypatch, tmp_path, path, said):
    monkeypatch.setattr(accel, "KVM", path)
    assert said in (accel.kvm_problem() or "")


async def test_the_rate_of_the_time_stamp_counter_is_steady():
    first, second = await tsc_khz(), await tsc_khz()
    if first is None:
        pytest.skip("this processor has no time stamp counter")
    assert 100_000 < first < 10_000_000
    assert abs(first - second) < first / 1000
