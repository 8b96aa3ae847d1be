"""Workspaces against a guest with every right inside: ids, read-only, protection, links, live changes."""

import os
import shutil
import stat
from pathlib import Path

import anyio
import pytest

from sandboxfile.errors import BusyError, HostError, MachineError, NotFoundError
from sandboxfile.model.desired import Workspace
from sandboxfile.vm.shares import serve_share

pytestmark = [pytest.mark.vm, pytest.mark.anyio]

REVALIDATE = 1.2  # seconds until the guest looks again at a name that it knows (cache=auto)


async def test_the_agents_files_are_the_callers_and_roots_are_nobodys(guest, host, workspace_root):
    (workspace_root / "mine").write_text("from the host\n")
    await guest.share(Workspace(str(workspace_root), "/ids"))
    assert await guest.run("cd /ids; cat mine; stat -c %u:%g mine") == "from the host\n1000:1000"
    await guest.run(
        "cd /ids; echo x >by-agent; chown 1000:1000 by-agent; echo x >by-root; touch other; chown 1234 other"
    )
    subordinate = host.ids.uids[0].outside
    owners = {name: (workspace_root / name).stat().st_uid for name in ("by-agent", "by-root", "other")}
    assert owners == {"by-agent": os.getuid(), "by-root": subordinate, "other": subordinate + 1233}


async def test_no_setuid_files_and_no_devices_can_be_made(guest, workspace_root):
    (workspace_root / "tool").write_text("x")
    await guest.share(Workspace(str(workspace_root), "/set"))
    said = await guest.run(
        "cd /set; chmod 4755 tool; chmod 2755 tool; cp tool copy; chmod 6755 copy; mknod disk b 8 0;"
        " touch -- made; chown 1000 made; chmod u+s made; chmod 1777 .; chmod 751 tool && echo fine"
    )
    assert said.count("Operation not permitted") == 5
    assert said.endswith("fine")
    for path in workspace_root.iterdir():
        assert stat.S_ISREG(path.lstat().st_mode)
        assert not path.stat().st_mode & (stat.S_ISUID | stat.S_ISGID)
    assert stat.S_IMODE((workspace_root / "tool").stat().st_mode) == 0o751


async def test_read_only_holds_against_root_who_remounts(guest, workspace_root):
    (workspace_root / "file").write_text("kept")
    await guest.share(Workspace(str(workspace_root), "/ro", "ro"))
    said = await guest.run("mount -o remount,rw /ro; echo x >/ro/new; rm -f /ro/file; chmod 777 /ro; echo y >>/ro/file")
    assert said.count("Read-only file system") == 4
    assert [path.name for path in workspace_root.iterdir()] == ["file"]
    assert (workspace_root / "file").read_text() == "kept"


async def test_links_lead_nowhere_on_the_host(guest, workspace_root, tmp_path):
    (tmp_path / "secret").write_text("host only")
    (workspace_root / "absolute").symlink_to(tmp_path / "secret")
    (workspace_root / "relative").symlink_to("../secret")
    (workspace_root / "up").symlink_to("..")
    await guest.share(Workspace(str(workspace_root), "/links"))
    assert "host only" not in await guest.run("cd /links; cat absolute relative up/secret")
    await guest.run("echo escaped >/links/up/escaped; ln -s /etc/shadow /links/made; cat /links/made")
    assert not (tmp_path / "escaped").exists()


@pytest.fixture
def repository(workspace_root):
    """A workspace with what is worth protecting."""
    (workspace_root / ".git/hooks").mkdir(parents=True)
    (workspace_root / ".git/hooks/post-merge").write_text("ours\n")
    (workspace_root / ".git/config").write_text("[core]\n")
    (workspace_root / "sandbox.yaml").write_text("name: x\n")
    (workspace_root / "deep/down").mkdir(parents=True)
    (workspace_root / "deep/down/file").write_text("ours\n")
    return workspace_root


PROTECTED = (".git/hooks", ".git/config", "sandbox.yaml", "deep/down/file", "later/file")

ATTACKS = """
echo evil >.git/hooks/pre-commit
echo evil >.git/hooks/post-merge
rm -rf .git/hooks
mv .git/hooks .git/aside
mv .git aside
mv deep aside
mv deep/down deep/aside
echo evil >>.git/config
mv .git/config .git/aside
rm -f sandbox.yaml
mv sandbox.yaml aside
ln sandbox.yaml hard && echo evil >hard
umount sandbox.yaml
mount -o remount,rw .
mkdir fresh && mv fresh .git
echo evil >deep/down/file
"""


async def test_protected_paths_withstand_everything_that_a_guest_can_do(guest, repository):
    def protected():
        return {
            path.relative_to(repository).as_posix(): path.read_text()
            for name in (".git/hooks", ".git/config", "sandbox.yaml", "deep/down")
            for path in ([repository / name] if (repository / name).is_file() else (repository / name).iterdir())
        }

    before = protected()
    share = await guest.share(Workspace(str(repository), "/attack", "rw", PROTECTED))
    assert share.stale() == []
    assert share.unprotected == ()
    assert share.protected()["later/file"] is None
    await guest.run("cd /attack; " + ATTACKS)
    assert protected() == before
    assert share.stale() == []
    assert await guest.run("cd /attack; echo x >.git/index && echo y >deep/file && echo fine") == "fine"


async def test_what_the_host_replaces_or_adds_is_seen_and_protected_again(guest, repository):
    share = await guest.share(Workspace(str(repository), "/again", "rw", PROTECTED))
    (repository / "saved").write_text("name: y\n")
    (repository / "saved").rename(repository / "sandbox.yaml")  # as editors save
    (repository / "later").mkdir()
    (repository / "later/file").write_text("ours\n")
    (repository / ".git").rename(repository / ".git.old")
    (repository / ".git/hooks").mkdir(parents=True)
    assert sorted(share.stale()) == [".git/config", ".git/hooks", "later/file", "sandbox.yaml"]
    assert await share.reprotect() == ()
    assert share.stale() == []
    await anyio.sleep(REVALIDATE)
    await guest.run(
        "cd /again; echo evil >>sandbox.yaml; rm -f sandbox.yaml; echo evil >later/file; mv later aside; mv .git aside;"
        " echo evil >.git/hooks/pre-commit"
    )
    assert (repository / "sandbox.yaml").read_text() == "name: y\n"
    assert (repository / "later/file").read_text() == "ours\n"
    assert list((repository / ".git/hooks").iterdir()) == []


async def test_a_link_put_where_protection_should_be_is_reported_and_forbids_writing(guest, workspace_root):
    share = await guest.share(Workspace(str(workspace_root), "/planted", "rw", (".git/config",)))
    await guest.run("cd /planted; mkdir .git; chown 1000 .git; ln -s ../elsewhere .git/config; touch elsewhere")
    assert share.stale() == [".git/config"]
    assert await share.reprotect() == (".git/config",)
    assert share.stale() == [], "reported once, not every second"
    await share.set_mode("ro")
    with pytest.raises(HostError, match=r"\.git/config"):
        await share.set_mode("rw")
    assert share.mode == "ro"
    (workspace_root / ".git/config").unlink()
    await share.set_mode("rw")
    assert share.unprotected == ()


async def test_a_live_share_turns_read_only_and_back_while_processes_go_on(guest, repository):
    share = await guest.share(Workspace(str(repository), "/live", "rw", PROTECTED))
    await guest.run("cd /live; tail -f deep/down/file >/dev/null 2>&1 & echo $! >/process; cd /; true")
    await share.set_mode("ro")
    said = await guest.run("cd /live; echo x >new; echo x >deep/new; echo x >.git/new; cat sandbox.yaml")
    assert said.count("Read-only file system") == 3
    assert said.endswith("name: x")
    await share.set_mode("rw")
    said = await guest.run(
        "cd /live; echo x >new; echo x >deep/new; echo x >.git/new; kill -0 $(cat /process) && echo on"
    )
    assert said == "on"
    await guest.run("cd /live; " + ATTACKS)
    assert (repository / "sandbox.yaml").read_text() == "name: x\n"
    assert (repository / ".git/config").read_text() == "[core]\n"


async def test_read_only_waits_for_nobody_who_writes(guest, workspace_root):
    share = await guest.share(Workspace(str(workspace_root), "/busy"))
    await guest.run("exec 5>/busy/open; echo one >&5")
    with pytest.raises(BusyError):
        await share.set_mode("ro")
    assert share.mode == "rw"
    await guest.run("echo two >&5; exec 5>&-")
    assert (workspace_root / "open").read_text() == "one\ntwo\n"
    with anyio.fail_after(10):
        while share.mode == "rw":  # closing reaches the file server a moment later
            try:
                await share.set_mode("ro")
            except BusyError:
                await anyio.sleep(0.05)
    assert "Read-only" in await guest.run("echo x >/busy/open")


async def test_a_share_is_unplugged_and_its_place_used_again(guest, host, workspace_root):
    (workspace_root / "file").write_text("first\n")
    for tag in ("again-1", "again-2"):
        share = await serve_share(Workspace(str(workspace_root), "/plug"), host.ids, host.layout.runtime)
        await guest.machine.plug_share(tag, share)
        wait = f"until mount -t virtiofs {tag} /plug 2>/dev/null; do sleep 0.05; done"
        assert await guest.run(f"mkdir -p /plug; {wait}; cat /plug/file; umount /plug") == "first"
        await guest.run(f"echo 0 >/sys/bus/pci/slots/{guest.machine.slot_number(tag)}/power")
        await guest.machine.unplug_share(tag)
        with anyio.fail_after(5):
            assert await share.wait() == 0
        await share.close()
        with pytest.raises(MachineError):
            guest.machine.slot_number(tag)


async def test_a_closed_share_is_out_of_the_guests_reach_and_the_machine_lives_on(host, workspace_root):
    async with host.boot() as guest:
        share = await guest.share(Workspace(str(workspace_root), "/cut"))
        await share.close()
        assert not share.alive
        await guest.run("(echo x >/cut/late) >/dev/null 2>&1 &")
        assert await guest.machine.qmp.status() == "running"
        with pytest.raises(MachineError):
            await share.reprotect()
        again = await guest.share(Workspace(str(workspace_root), "/anew"))
        await guest.run("echo x >/anew/file")
        assert [path.name for path in workspace_root.iterdir()] == ["file"]
        assert again.alive


async def test_a_workspace_that_became_a_link_is_refused(host, workspace_root, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (workspace_root / "sub").mkdir()
    planned = Workspace(str(workspace_root / "sub"), "/w")
    shutil.rmtree(workspace_root)
    workspace_root.symlink_to(other)
    (other / "sub").mkdir()
    with pytest.raises(HostError, match="symbolic link"):
        await serve_share(planned, host.ids, host.layout.runtime)
    (other / "sub").rmdir()
    workspace_root.unlink()
    with pytest.raises(NotFoundError):
        await serve_share(planned, host.ids, host.layout.runtime)
    assert list(Path(host.layout.runtime).iterdir()) == []


async def test_a_protected_path_behind_a_link_refuses_the_share_unless_it_is_read_only(host, workspace_root):
    (workspace_root / "real").mkdir()
    (workspace_root / ".git").symlink_to("real")
    (workspace_root / "real/config").write_text("x")
    with pytest.raises(HostError, match=r"\.git/config"):
        await serve_share(Workspace(str(workspace_root), "/w", "rw", (".git/config",)), host.ids, host.layout.runtime)
    share = await serve_share(
        Workspace(str(workspace_root), "/w", "ro", (".git/config",)), host.ids, host.layout.runtime
    )
    assert share.unprotected == (".git/config",)
    await share.close()


async def test_a_path_with_odd_characters_is_a_workspace_like_any_other(guest, tmp_path):
    odd = tmp_path.resolve() / "a b,source=x\\\"'é"
    odd.mkdir()
    (odd / ".git").mkdir()
    (odd / ".git/my hooks").mkdir()
    share = await guest.share(Workspace(str(odd), "/odd", "rw", (".git/my hooks",)))
    await share.set_mode("ro")
    await share.set_mode("rw")
    assert await guest.run("echo x >/odd/file && echo y >/odd/.git/file && echo fine") == "fine"
    assert "Read-only" in await guest.run("echo x >'/odd/.git/my hooks/x'")
