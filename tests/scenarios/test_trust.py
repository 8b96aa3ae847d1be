"""An agent edits every file that could widen its policy: nothing changes until a person has said yes to it.

What holds is shown layer by layer: files that are there are read-only inside, whoever tries; what is made anew, turned
aside with its directory, exchanged, or brought by a branch, is not applied unasked.
"""

import os
import subprocess

import pytest

from sandboxfile.model.lock import Lock, encode_lock

pytestmark = pytest.mark.vm

EVIL = "evil.example.org"
FILES = {
    "sandbox.yaml": """\
name: own
include: [team/policy.yaml]
sandboxes:
  box:
    workspaces: [.]
    policy: tools
    env_file: values.env
    resources: {cpus: 1, memory: 512MiB, disk: 4GiB}
""",
    "team/policy.yaml": 'policies: {tools: {allow: ["${API_HOST}:443"]}}\n',
    ".env": "API_HOST=api.example.com\n",
    "values.env": "A=1\n",
}
OPEN = "sandboxes: {box: {policy: !override {mode: allow}}}\n"
WIDER = {
    "sandbox.yaml": FILES["sandbox.yaml"].replace("policy: tools", "policy: {mode: allow}"),
    "team/policy.yaml": 'policies: {tools: {mode: allow, allow: ["${API_HOST}:443"]}}\n',
    ".env": f"API_HOST={EVIL}\n",
}
# As the agent and as root. Nothing of it may succeed, and all of it is tried.
EDITS = """
for file in {files}; do
  echo '# x' >> $file; printf '%s\\n' x > $file; sed -i s/a/b/ $file; cp /tmp/wide $file; truncate -s 0 $file
  ln -sf /tmp/wide $file; mv /tmp/wide2 $file; rm -f $file; mv $file moved; chmod 777 $file; ln $file linked
  umount $file; mount -o remount,rw $PWD; mount -o remount,bind,rw $file
done
mv team aside && mkdir team && cp /tmp/tree/team/policy.yaml team/; rm -rf team; ln -sfn /tmp/tree/team team
git checkout -f wide; git stash; git reset --hard wide; git restore --source wide -- {files}; git checkout main
rm -f moved linked .git/index.lock
true
"""
# A branch with other content, without a change of any file in the directory.
BRANCH = """
set -e
export GIT_INDEX_FILE=/tmp/index GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
git read-tree main
for file in sandbox.yaml team/policy.yaml .env; do
  git update-index --add --cacheinfo "100644,$(git hash-object -w /tmp/tree/$file),$file"
done
git update-ref refs/heads/wide "$(git commit-tree -p main -m helpful "$(git write-tree)")"
"""


def git(sbx, *words):
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com")
    done = subprocess.run(["git", *identity, "-C", str(sbx.project), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def place(sbx, files):
    for name, text in files.items():
        (sbx.project / name).parent.mkdir(exist_ok=True)
        (sbx.project / name).write_text(text)


def content(sbx, names):
    return {name: (sbx.project / name).read_text() for name in names}


def at_a_terminal(sbx, answer, *words):
    """Run a command where somebody sits and answers; gives its exit code and all that was shown."""
    primary, terminal = os.openpty()
    ends = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
    with subprocess.Popen([*sbx.argv, *words], cwd=sbx.project, env=sbx.environment, **ends) as client:
        os.close(terminal)
        os.write(primary, f"{answer}\n".encode())
        shown = b""
        try:
            while chunk := os.read(primary, 1 << 16):
                shown += chunk
        except OSError:  # EIO: the last one has closed it
            pass
        code = client.wait(120)
    os.close(primary)
    sbx.log.append(f"$ sbx {' '.join(words)}   at a terminal -> {code}\n{shown.decode()}\n")
    return code, shown.decode()


def held(sbx):
    """What the sandbox may do now, as `policy show` has it; and nothing of it reaches the evil host."""
    sbx("policy", "explain", "box", EVIL, code=2)
    return sbx("policy", "show", "--effective", "box").stdout


def assert_refused(sbx, before, *names):
    """Whoever asks nobody is refused, with each file; who is asked is told the same, and `n` changes nothing."""
    said = sbx("up", "-y", code=1).stderr
    assert "nothing was changed" in said
    assert "sbx trust" in said
    planned = sbx("plan", any_code=True).stderr
    code, shown = at_a_terminal(sbx, "n", "up")
    assert code == 1
    for name in names:
        for text in (said, planned, shown):
            assert f"{sbx.project}/{name}: " in text
    assert held(sbx) == before


def inside(sbx, script):
    """As the agent, and as root."""
    sbx("exec", "box", "sh", "-c", script)
    sbx("exec", "box", "sudo", "sh", "-c", script)


def put(sbx, name, text):
    """The agent writes a file."""
    sbx("exec", "-i", "box", "sh", "-c", f"mkdir -p $(dirname {name}) && cat > {name}", input=text)


@pytest.fixture
def before(sbx):
    """A repository in a sandbox, and in it a branch that the agent has made; gives what the sandbox may do."""
    subprocess.run(["git", "init", "-qb", "main", str(sbx.project)], check=True)
    place(sbx, FILES)
    git(sbx, "add", "-f", ".")
    git(sbx, "commit", "-qm", "ours")
    sbx("up", "-y")  # no sandbox could have written these files: nobody has to be asked
    for name, text in WIDER.items():
        put(sbx, f"/tmp/tree/{name}", text)
    sbx("exec", "box", "sh", "-c", "cp /tmp/tree/sandbox.yaml /tmp/wide; cp /tmp/wide /tmp/wide2")
    sbx("exec", "box", "sh", "-c", BRANCH)
    return held(sbx)


def test_what_is_there_is_read_only_inside_and_what_is_made_there_is_not_applied(sbx, before):
    inside(sbx, EDITS.format(files=" ".join(FILES)))
    assert content(sbx, FILES) == FILES
    assert "no changes" in sbx("up", "-y").stderr.lower()
    assert held(sbx) == before

    put(sbx, "sandbox.override.yaml", OPEN)
    assert_refused(sbx, before, "sandbox.override.yaml")
    (sbx.project / "sandbox.override.yaml").rename(sbx.project / "sandbox.override.yml")
    assert f"{sbx.project}/sandbox.override.yml: new" in sbx("up", "-y", code=1).stderr
    (sbx.project / "sandbox.override.yml").unlink()
    put(sbx, "sub/sandbox.yaml", f"name: sub\n{OPEN.replace('!override ', '')}")
    assert f"{sbx.project}/sub/sandbox.yaml: new" in sbx("-C", "sub", "up", "-y", code=1).stderr
    sbx("exec", "box", "ln", "-s", "/etc/sandbox.override.yaml", "sandbox.override.yaml")
    sbx("up", "-y", code=1)  # a symlink that a sandbox can turn is an error by itself
    (sbx.project / "sandbox.override.yaml").unlink()
    assert held(sbx) == before
    sbx("down", "-y")


def test_what_a_person_brings_in_is_applied_as_they_say_and_held_inside(sbx, before):
    # Files that were read-only inside since before it ran: who changes them in place is at the host, and --yes is
    # their word.
    place(sbx, WIDER)
    assert "box can now reach everything" in sbx("up", "-y", "--deny-widening", code=3).stderr
    code, shown = at_a_terminal(sbx, "n", "up")
    assert code == 1
    assert "! widens" in shown
    assert held(sbx) == before
    sbx("up", "-y")
    sbx("policy", "explain", "box", EVIL)
    place(sbx, {"sandbox.yaml": WIDER["sandbox.yaml"].replace("allow}", "allow, block: [blocked.example.org]}")})
    sbx("up", "-y")
    sbx("policy", "explain", "box", "blocked.example.org", code=2)

    # Files that are new where a sandbox can write, or exchanged, as git does it: nobody knows whose they are, and who
    # has them open, until somebody says so.
    mine = {"sandbox.override.yaml": "sandboxes: {box: {env: {B: two}}}\n", "sandbox.lock": encode_lock(Lock())}
    place(sbx, mine)
    git(sbx, "checkout", "-qf", "main")
    refused = sbx("up", "-y", code=1).stderr
    assert f"{sbx.project}/sandbox.override.yaml: new" in refused
    assert f"{sbx.project}/sandbox.yaml: changed" in refused
    assert f"{sbx.project}/values.env" not in refused
    assert at_a_terminal(sbx, "n", "trust")[0] == 1
    sbx("up", "-y", code=1)
    code, shown = at_a_terminal(sbx, "y", "trust")
    assert code == 0, shown
    sbx("up", "-y")
    assert held(sbx) == before
    sbx("exec", "box", "sudo", "sh", "-c", EDITS.format(files=" ".join(mine)))
    assert content(sbx, mine) == mine
    three = {"sandbox.override.yaml": "sandboxes: {box: {env: {B: three}}}\n"}
    place(sbx, three)
    assert f"{sbx.project}/sandbox.override.yaml: changed" in sbx("up", "-y", code=1).stderr
    place(sbx, mine)
    sbx("stop", "box")
    sbx("up", "-y")  # nothing inside has them open when it starts: from now on they are the host's
    place(sbx, three)
    sbx("up", "-y")
    sbx("down", "-y")


def test_what_the_agent_has_by_another_name_or_open_is_asked_about_whenever_it_changes(sbx, before):
    override = {"sandbox.override.yaml": "sandboxes: {box: {env: {B: two}}}\n"}
    put(sbx, "other", override["sandbox.override.yaml"])
    sbx("exec", "box", "ln", "other", "sandbox.override.yaml")
    code, shown = at_a_terminal(sbx, "y", "trust")
    assert code == 0, shown
    sbx("up", "-y")
    before = held(sbx)
    sbx("exec", "box", "sh", "-c", "! echo '#' >> sandbox.override.yaml")
    for again in (False, True):
        if again:
            place(sbx, override)
            sbx("stop", "box")
            sbx("up", "-y")
        put(sbx, "other", OPEN)
        assert content(sbx, override) == {"sandbox.override.yaml": OPEN}
        assert_refused(sbx, before, "sandbox.override.yaml")
    sbx("down", "-y")
