"""The scripts parse, and the words they ask for are those that fit."""

import shutil
import subprocess

import pytest

from sandboxfile.cli.commands.complete_words import complete
from sandboxfile.cli.commands.completion import SCRIPTS
from sandboxfile.cli.main import VERBS


@pytest.mark.parametrize("shell", sorted(SCRIPTS))
def test_a_script_parses(shell):
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    check = [shell, "--no-execute"] if shell == "fish" else [shell, "-n"]
    done = subprocess.run(check, input=SCRIPTS[shell], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_bash_offers_what_sbx_says(tmp_path):
    fake = tmp_path / "sbx"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$#:$*"\n')
    fake.chmod(0o755)
    script = SCRIPTS["bash"] + 'COMP_WORDS=(sbx logs "w" x); COMP_CWORD=2; _sbx; printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(
        ["bash", "-c", script], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True
    )
    assert done.stdout == "4:complete-words -- logs w\n", done.stderr


def names(verb):
    if verb.startswith("template "):
        return ["dev", "shell"]
    if verb == "run":
        return ["claude", "web"]
    return ["web", "db"] if verb in ("exec", "up", "logs", "network log", "save") else []


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ([""], list(VERBS)),
        (["st"], ["status", "stop", "start"]),
        (["-f", "x", "va"], ["validate"]),
        (["logs", ""], ["web", "db"]),
        (["logs", "w"], ["web"]),
        (["logs", "--fo"], ["--follow"]),
        (["exec", "-u", "root", ""], ["web", "db"]),
        (["exec", "-it", "web", ""], []),
        (["completion", ""], ["bash", "fish", "zsh"]),
        (["init", "x"], []),
        (["network", ""], ["log", "summary", "proxy"]),
        (["-f", "log", "network", "s"], ["summary"]),
        (["network", "log", ""], ["web", "db"]),
        (["network", "log", "--bl"], ["--blocked"]),
        (["network", "proxy", "--bypass"], ["--bypass-host", "--bypass-cidr"]),
        (["policy", "sh"], ["show"]),
        (["policy", "explain", "web", "--res"], ["--resolve"]),
        (["logs", "network", "pr"], []),
        (["template", "in"], ["inspect"]),
        (["template", "build", ""], ["dev", "shell"]),
        (["template", "inspect", "--fi"], ["--file", "--files"]),
        (["template", "rm", "d"], ["dev"]),
        (["save", "w"], ["web"]),
        (["prune", "--dry"], ["--dry-run"]),
        (["run", ""], ["claude", "web"]),
        (["run", "-t", "dev", "c"], ["claude"]),
        (["run", "claude", ""], []),
        (["run", "claude", "--det"], ["--detach", "--detach-keys"]),
        (["run", "claude", "--", "--c"], []),
        (["exec", "-t", "web", ""], []),
    ],
)
def test_the_words_are_those_that_fit(words, found):
    assert complete(words, names) == found
