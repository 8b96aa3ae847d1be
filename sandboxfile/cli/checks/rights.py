"""What the kernel and the host's configuration allow this user: namespaces, subordinate ids, acceleration, limits."""

import json
import os
import pwd
import resource
import subprocess
from pathlib import Path

from sandboxfile.cli.checks.check import Check, check
from sandboxfile.host.layout import Layout
from sandboxfile.vm.ids import entries

SOCKET_LIMIT = 107  # bytes of a UNIX socket's path: sizeof(sun_path) - 1, unix(7)
FILES_WANTED = 65536  # a file server holds a descriptor for every file the guest has seen
_SWITCHES = (
    ("kernel/unprivileged_userns_clone", "0", "sudo sysctl kernel.unprivileged_userns_clone=1"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0"),
    ("user/max_user_namespaces", "0", "sudo sysctl user.max_user_namespaces=15000"),
)


def check_rights(layout: Layout, uid: int) -> list[Check]:
    """Everything that is allowed or not, rather than installed or not."""
    return [_namespaces(), *_subordinate_ids(uid), _accelerator(layout), _descriptors(), _limits(), _sockets(layout)]


def _namespaces() -> Check:
    probe = ("unshare", "--user", "--map-root-user", "--mount", "--net", "--pid", "--fork", "true")
    try:
        done = subprocess.run(probe, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        return Check("user namespaces", "missing", str(exc), "apt install util-linux")
    fix = "in a container: run it with CAP_SYS_ADMIN, or allow it to make user namespaces"
    for switch, forbidding, command in _SWITCHES:
        if _content(f"/proc/sys/{switch}") == forbidding:
            fix = command
    return check("user namespaces", done.returncode == 0, done.stderr.strip() or "allowed", fix)


def _subordinate_ids(uid: int) -> list[Check]:
    if uid == 0:
        return [Check("subordinate ids", "ok", "root takes a range that nobody uses")]
    account = pwd.getpwuid(uid).pw_name
    found = []
    for name, option in (("subuid", "--add-subuids"), ("subgid", "--add-subgids")):
        ranges = entries(_content(f"/etc/{name}"), (account, str(uid)))
        total = sum(each.count for each in ranges)
        fix = f"sudo usermod {option} 100000-165535 {account} (another range where these are taken)"
        found.append(check(name, total >= 65536, f"{total} ids for {account}", fix))
    return found


def _accelerator(layout: Layout) -> Check:
    """The verdict of the timed probe, which the first `up` makes: opening /dev/kvm proves nothing."""
    emulated = "emulation (TCG): slower, and not a security boundary: run only what you trust not to attack the host"
    fix = "use a host with hardware virtualisation, and give this user access to /dev/kvm (group kvm)"
    if wanted := os.environ.get("SBX_ACCEL"):
        return check("accelerator", wanted == "kvm", f"{wanted}, because SBX_ACCEL says so", fix, "warning")
    kvm = Path("/dev/kvm")
    if not kvm.exists():
        return Check("accelerator", "warning", f"no /dev/kvm: {emulated}", fix)
    if not os.access(kvm, os.R_OK | os.W_OK):
        return Check("accelerator", "warning", f"/dev/kvm is closed to this user: {emulated}", fix)
    try:
        record = json.loads(layout.accelerator_record.read_text())
        chosen, reason = str(record["accelerator"]), str(record.get("reason", "as a timed boot showed"))
    except (OSError, ValueError, KeyError, TypeError):
        return Check("accelerator", "ok", "/dev/kvm is there; the first `sbx up` measures whether it works")
    if chosen == "kvm":
        return Check("accelerator", "ok", f"kvm, {reason}")
    return Check("accelerator", "warning", f"{reason}: {emulated}", fix)


def _descriptors() -> Check:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    shown = "unlimited" if hard == resource.RLIM_INFINITY else str(hard)
    enough = hard == resource.RLIM_INFINITY or hard >= FILES_WANTED
    fix = f"raise `nofile` in /etc/security/limits.conf to {FILES_WANTED}: large workspaces need it"
    return check("open files", enough, shown, fix, "warning")


def _limits() -> Check:
    return Check("limits of QEMU", "ok", "by rlimits: memory, files, processes; no cgroup")


def _sockets(layout: Layout) -> Check:
    length = len(os.fsencode(layout.runtime / f"{'0' * 16}.sock"))
    detail = f"{layout.runtime}: {length} of {SOCKET_LIMIT} bytes for a socket's path"
    return check(
        "runtime directory", length <= SOCKET_LIMIT, detail, "set XDG_RUNTIME_DIR or SBX_HOME to a shorter path"
    )


def _content(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""
