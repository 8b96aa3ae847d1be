"""`run`: one command from nothing to an agent in a sandbox, and back to the same one; `adopt` keeps its disk."""

import json

import pytest

pytestmark = pytest.mark.vm

SMALL = ("--memory", "512MiB", "--cpus", "1", "--disk", "4GiB")


def names(sbx):
    return [item["id"] for item in json.loads(sbx("ls", "-a", "--format", "json").stdout)]


def test_run_makes_a_sandbox_comes_back_to_it_and_a_file_can_adopt_it(sbx):
    sbx.write("name: shop\nsandboxes: {}\n")

    first = sbx(
        "run", *SMALL, "shell", ".", "--", "-c", "echo hi; echo kept > ~/kept; echo made > made-inside; exit 3", code=3
    )
    assert first.stdout == "hi\n"
    assert "shell-project" in first.stderr
    assert (sbx.project / "made-inside").read_text() == "made\n"
    assert names(sbx) == ["shell-project"]

    again = sbx("run", "shell", "--", "-c", 'cat ~/kept; pwd; echo "$@"', "sh", "a b", "--c")
    assert again.stdout == f"kept\n{sbx.project}\na b --c\n"
    assert sbx("run", "shell-project", "-e", "A=1", "--", "-c", "echo $A").stdout == "1\n"
    assert names(sbx) == ["shell-project"]

    # An agent must not widen its own policy, not even that of a file which nobody has loaded.
    refused = "echo >> sandbox.yaml || echo refused; mv sandbox.yaml x || echo refused"
    assert sbx("run", "shell", "--", "-c", refused).stdout == "refused\nrefused\n"

    # `up` and `down` leave it alone; the others know its name.
    for verb in ("up", "down"):
        assert "shell-project" not in sbx(verb, "-y").stderr
    sbx("network", "proxy", "shell-project", "--allow-host", "api.example.com")
    assert sbx("exec", "shell-project", "cat", "/home/agent/kept").stdout == "kept\n"
    sbx("stop", "shell-project")
    assert sbx("run", "shell", "--", "-c", "cat ~/kept").stdout == "kept\n"  # starts it

    sbx("adopt", "-y", "shell-project", "--as", "dev")
    assert "api.example.com" in sbx.file.read_text()
    plan = json.loads(sbx("plan", "--format", "json").stdout)
    assert [change["action"] for change in plan["changes"]] == ["start"]
    shown = sbx("trust", "--show").stdout  # nobody has applied it before: a person looks at it
    sbx("trust", "--yes", "--digest", shown.partition("digest of all: ")[2].strip())
    sbx("up", "-y")
    assert names(sbx) == ["shop/dev"]
    assert sbx("exec", "dev", "cat", "/home/agent/kept").stdout == "kept\n"
    assert sbx("plan", "--detailed-exitcode", code=0)
    sbx("down", "-y")
    assert names(sbx) == []


def test_two_at_once_are_two_sandboxes_on_one_directory_and_a_detached_agent_goes_on(sbx):
    clients = [sbx.popen("run", *SMALL, "--overcommit", "-d", "shell", "--name", name) for name in ("one", "two")]
    for client in clients:
        said, talk = client.communicate(timeout=600)
        assert client.returncode == 0, said + talk
    assert names(sbx) == ["one", "two"]
    sessions = [json.loads(sbx("status", name, "--format", "json").stdout)["machine"]["session"] for name in names(sbx)]
    assert sessions == ["detached", "detached"]
    sbx("exec", "one", "sh", "-c", "echo shared > from-one")
    assert sbx("exec", "two", "cat", "from-one").stdout == "shared\n"
    sbx("rm", "-y", "one", "two")
    assert names(sbx) == []
    assert (sbx.project / "from-one").read_text() == "shared\n"
