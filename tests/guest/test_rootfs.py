"""The guest's scripts: their syntax, and that they use nothing of the template before it is the root."""

import re
import subprocess

import pytest

from sandboxfile.images.recipe import EARLY_COMMANDS, ROOTFS

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
