"""`sbx watch`: plans as the file is edited, and nothing when it is wrong. What is applied here is empty."""

import os
import re
import signal
import subprocess
import sys
import time

import pexpect
import pytest

from sandboxfile.host.trust import expose

FILE = "name: shop\nsandboxes:\n  web: {}\n"
WATCHING = re.compile(r"watching \d+ files")


class Watch:
    """One at work, and what it has said."""

    def __init__(self, project, environment, *words):
        self.log = project.parent / "said"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sandboxfile", "watch", *words],
                cwd=project,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def said(self, looks):
        """What it said until it had looked so often."""
        deadline = time.monotonic() + 60
        while len(WATCHING.findall(self.log.read_text())) < looks:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
        return WATCHING.split(self.log.read_text())[looks - 1]

    def end(self, number):
        self.process.send_signal(number)
        return self.process.wait(30)


@pytest.fixture
def watch(project, environment):
    made = []

    def start(*words):
        made.append(Watch(project, environment, *words))
        return made[-1]

    yield start
    for each in made:
        each.process.kill()
        each.process.wait()


def test_without_a_terminal_plans_are_shown_for_every_file_that_counts(watch, project, layout):
    (project / "sandbox.yaml").write_text(FILE)
    watching = watch()
    assert "+ sandbox web" in watching.said(1)

    (project / "sandbox.yaml").write_text(FILE + "  db: {}\n")
    said = watching.said(2)
    assert "sandbox.yaml changed" in said
    assert "+ sandbox db" in said

    (project / "sandbox.override.yaml").write_text("sandboxes: {over: {}}\n")
    assert "+ sandbox over" in watching.said(3)

    other = project / ".sandbox.yaml.swp"
    other.write_text("include: [team/more.yaml]\n" + FILE)
    other.rename(project / "sandbox.yaml")
    said = watching.said(4)
    assert "File not readable" in said or "there is no such file" in said
    assert "everything stays as it is" in said

    (project / "team").mkdir()
    (project / "team/more.yaml").write_text("sandboxes: {more: {}}\n")
    assert "+ sandbox more" in watching.said(5)
    assert not list(layout.sandboxes.glob("*/*")) if layout.sandboxes.exists() else True
    assert watching.end(signal.SIGINT) == 130
    assert "Traceback" not in watching.log.read_text()


def test_a_file_that_is_wrong_or_gone_for_a_moment_is_no_end(watch, project):
    file = project / "sandbox.yaml"
    file.write_text(FILE)
    watching = watch("--no-apply")
    watching.said(1)
    file.write_text("sandboxes: [\n")
    assert "sandbox.yaml:2:1" in watching.said(2)
    file.unlink()
    said = watching.said(3)
    assert "there is no file" in said
    assert "everything stays as it is" in said
    file.write_text(FILE)
    assert "+ sandbox web" in watching.said(4)
    assert watching.end(signal.SIGTERM) == 128 + signal.SIGTERM


def test_who_only_looks_is_told_which_files_are_in_doubt(watch, project, layout):
    (project / "sandbox.yaml").write_text(FILE)
    expose(layout, dict.fromkeys([str(project)], frozenset()))
    said = watch("--no-apply").said(1)
    assert "`up --yes` refuses this plan" in said
    assert f"{project}/sandbox.yaml: new" in said


def test_at_a_terminal_it_asks_and_no_is_no_end(project, environment):
    (project / "sandbox.yaml").write_text(FILE)
    argv = ["-m", "sandboxfile", "watch"]
    environment = environment | {"SBX_ACCEL": "tcg", "NO_COLOR": "1"}
    child = pexpect.spawn(sys.executable, argv, cwd=str(project), env=environment, timeout=60, encoding="utf-8")
    try:
        child.expect(r"Apply this\? \[y/N\]|error: .*")
        if "Apply this" in child.after:
            child.sendline("n")
            child.expect("nothing was changed")
        child.expect(WATCHING)
        child.sendintr()
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == 130
    finally:
        child.close(force=True)


def test_without_a_file_there_is_nothing_to_watch(cli):
    assert "no sandbox.yaml here" in cli("watch", code=1).stderr


def test_the_first_look_needs_no_watcher_and_other_commands_never_load_it(cli, project):
    (project / "sandbox.yaml").write_text(FILE)
    argv = [sys.executable, "-X", "importtime", "-m", "sandboxfile", "validate"]
    done = subprocess.run(argv, cwd=project, env=os.environ | {"HOME": str(project)}, capture_output=True, text=True)
    assert "watchfiles" not in done.stderr
