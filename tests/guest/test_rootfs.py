"""The guest's scripts: their syntax, and that they use nothing of the template before it is the root."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from sandboxfile.images.boot.recipe import EARLY_COMMANDS, ROOTFS

SCRIPTS = sorted(path for path in ROOTFS.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_shell_can_read_it(path):
    subprocess.run(["sh", "-n", path], check=True)


@pytest.mark.parametrize("path", [p for p in SCRIPTS if p.parent.name == "bin"], ids=lambda path: path.name)
def test_commands_run_by_our_shell_and_search_only_our_tools(path):
    text = path.read_text()
    assert text.startswith("#!/run/sbx/bin/sh\n")
    sets_path = "export PATH=/run/sbx/bin\n" in text or "export PATH=$T/bin\n" in text
    assert sets_path or ". /run/sbx/mounts\n" in text or "exec /run/sbx/bin/busybox " in text


def test_the_initramfs_has_every_command_that_its_script_uses():
    text = re.sub(r"#.*|\"[^\"]*\"", "", (ROOTFS / "initramfs-init").read_text())
    first_words = set(re.findall(r"(?:^|&&|\|\||;|do|until|exec)\s+([a-z]+)\b(?!=|\()", text, re.MULTILINE))
    shell = {"die", "cd", "read", "while", "do", "done", "for", "if", "fi", "tries", "echo", "exec", "export", "until"}
    assert {"mount", "insmod", "chroot"} <= first_words
    assert first_words - shell <= set(EARLY_COMMANDS)


MARK = "# sandboxfile authority 284d3e03 "
CERTIFICATE = "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----"


def shells():
    """The shells of this host that understand what the guest's busybox does."""
    busybox = shutil.which("busybox")
    return [["sh"], *([[busybox, "sh"]] if busybox else [])]


@pytest.fixture(params=shells(), ids=lambda command: Path(command[0]).name)
def call(request):
    """Calls a function of the sourced scripts, with variables set; gives its exit code."""

    def run(*words, **variables):
        lines = [f". {ROOTFS / name}" for name in ("network", "trust", "docker")]
        lines += [f"{name}={shlex.quote(str(value))}" for name, value in variables.items()]
        done = subprocess.run(
            [*request.param, "-c", "\n".join([*lines, shlex.join(map(str, words))])], capture_output=True, text=True
        )
        assert done.stderr == ""
        return done.returncode

    return run


def authority(number):
    mark = f"{MARK}{number:032x}"
    certificate = CERTIFICATE.format(f"ours{number}")
    return {"sbx_authority_mark": mark, "sbx_authority": f"{mark}\n{certificate}"}


def test_a_bundle_is_made_when_absent_and_then_left_alone(call, tmp_path):
    bundle, ours = tmp_path / "bundle", authority(1)
    assert call("trust_in", bundle, **ours) == 0
    assert bundle.read_text() == ours["sbx_authority"] + "\n"
    before = bundle.stat()
    assert call("trust_in", bundle, **ours) == 0
    assert bundle.stat() == before
    assert list(tmp_path.iterdir()) == [bundle]


def test_an_earlier_certificate_is_replaced_however_often_it_is_there_and_all_others_stay(call, tmp_path):
    bundle, old, new = tmp_path / "bundle", authority(1), authority(2)
    others = [CERTIFICATE.format("first"), CERTIFICATE.format("last")]
    bundle.write_text("\n".join([old["sbx_authority"], others[0], old["sbx_authority"], "# remark", others[1]]))
    call("trust_in", bundle, **new)
    assert bundle.read_text() == "\n".join([others[0], "# remark", others[1], new["sbx_authority"], ""])


def test_a_bundle_behind_a_link_is_changed_in_its_place(call, tmp_path):
    (tmp_path / "real").mkdir()
    bundle = tmp_path / "bundle"
    (tmp_path / "real/file").write_text(CERTIFICATE.format("other") + "\n")
    bundle.symlink_to("real/file")
    call("trust_in", bundle, **authority(1))
    assert bundle.is_symlink()
    assert "ours1" in (tmp_path / "real/file").read_text()


def test_the_link_of_an_earlier_authority_goes_and_those_of_others_stay(call, tmp_path):
    certificate = tmp_path / "sandboxfile.crt"
    certificate.write_text("old")
    (tmp_path / "284d3e03.0").symlink_to(certificate)
    (tmp_path / "other").write_text("other")
    (tmp_path / "11111111.0").symlink_to("other")
    variables = {"certs": tmp_path, "sbx_certificate": certificate}
    for first in ("# sandboxfile authority 11111111 0", "", "nonsense", "# sandboxfile authority ../x 0"):
        call("forget_authority", first, **variables)
        assert (tmp_path / "284d3e03.0").is_symlink()
        assert (tmp_path / "11111111.0").is_symlink()
    call("forget_authority", f"{MARK}0", **variables)
    assert not (tmp_path / "284d3e03.0").is_symlink()


BEGIN, END = "# begin of sandboxfile", "# end of sandboxfile"


@pytest.mark.parametrize(
    ("before", "kept"),
    [
        (None, ""),
        ("", ""),
        ("A=1\nB=2", "A=1\nB=2\n"),
        (f"{BEGIN} 1\nOLD=1\n{END}\nA=1\n", "A=1\n"),
        (f"A=1\n{BEGIN} 1\nOLD=1\n{END}\nB='a  b'\\c\n", "A=1\nB='a  b'\\c\n"),
        (f"{BEGIN} 1\nOLD=1\n{END}\nA=1\n{BEGIN} 2\nOLD=2\n{END}\n", "A=1\n"),
        (f"{BEGIN} 1\nA=1\n", f"{BEGIN} 1\nA=1\n"),
    ],
    ids=["absent", "empty", "foreign", "ours", "ours below", "ours twice", "without its end"],
)
def test_a_block_is_written_once_and_what_is_not_ours_stays(call, tmp_path, before, kept):
    file, mark = tmp_path / "environment", f"{BEGIN} 9"
    if before is not None:
        file.write_text(before)
    call("write_block", file, mark, "NEW=1\nMORE=2")
    assert file.read_text() == f"{mark}\nNEW=1\nMORE=2\n{END}\n{kept}"
    before = file.stat()
    call("write_block", file, mark, "NEW=1\nMORE=2")
    assert file.stat() == before


def test_a_file_of_ours_replaces_a_link_and_follows_none(call, tmp_path):
    (tmp_path / "target").write_text("precious")
    (tmp_path / "link").symlink_to("target")
    call("put", tmp_path / "link", "ours")
    assert (tmp_path / "target").read_text() == "precious"
    assert (tmp_path / "link").read_text() == "ours\n"
    assert not (tmp_path / "link").is_symlink()


def test_a_line_is_found_whole_or_not_at_all(call, tmp_path):
    file = tmp_path / "hosts"
    assert call("has_line", file, "10.0.2.2 name") == 1
    file.write_text("127.0.0.1 localhost\n10.0.2.2 name.example.com\n10.0.2.2 name")
    assert call("has_line", file, "10.0.2.2 name") == 0
    assert call("has_line", file, "10.0.2.2") == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("root:x:0:\n", "root:x:0:\ndocker:x:999:agent\n"),
        ("root:x:0:", "root:x:0:\ndocker:x:999:agent\n"),
        ("a:x:999:\nb:x:998:agent\n", "a:x:999:\nb:x:998:agent\ndocker:x:997:agent\n"),
        ("docker:x:101:\nlast:x:5:\n", "docker:x:101:agent\nlast:x:5:\n"),
        ("docker:x:101:dev,reagent\n", "docker:x:101:dev,reagent,agent\n"),
        ("docker:x:101:agent,dev\nmy-docker:x:7:\n", "docker:x:101:agent,dev\nmy-docker:x:7:\n"),
    ],
    ids=["no group", "unfinished line", "numbers taken", "no member", "other members", "already a member"],
)
def test_the_agent_joins_a_group_once_and_it_is_made_when_there_is_none(call, tmp_path, before, after):
    file = tmp_path / "group"
    file.write_text(before)
    for _ in range(2):
        call("join_group", "docker", "agent", file)
        assert file.read_text() == after
