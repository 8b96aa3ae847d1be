"""`depends_on`, profiles and `scale` on running machines: who is started when, and who is left alone."""

import json
from datetime import datetime

import pytest

pytestmark = pytest.mark.vm

FILE = """\
name: order
defaults: {{resources: {{cpus: 1, memory: 512MiB, disk: 4GiB}}}}
sandboxes:
  db:
    workspaces: [./work]
    command: "sleep 8; touch ready; exec sleep infinity"
    healthcheck: {{command: test -e ready, interval: 500ms, timeout: 20s, retries: 3, start_period: 2m}}
  job:
    workspaces: [./work]
    command: "sleep 8; touch done"
  web:
    scale: {scale}
    depends_on: {{db: {{condition: healthy}}, job: {{condition: completed}}}}
  broken: {{profiles: [ci], workspaces: [./work], command: "test -e mended || exit 3"}}
  late: {{profiles: [ci], depends_on: {{broken: {{condition: completed}}}}}}
"""
WELL = {"db", "job", "web-1", "web-2"}


def write(sbx, scale):
    (sbx.project / "work").mkdir(exist_ok=True)
    sbx.write(FILE.format(scale=scale))


def there(sbx):
    """Every sandbox that exists, with whether it runs."""
    found = json.loads(sbx("ls", "-a", "--format", "json").stdout)
    return {each["id"].removeprefix("order/"): each["status"] == "running" for each in found}


def started_at(sbx, name):
    machine = json.loads(sbx("status", name, "--format", "json").stdout)["machine"]
    return datetime.fromisoformat(machine["started_at"]).timestamp()


def test_dependents_wait_profiles_are_asked_for_and_replicas_come_and_go(sbx):
    write(sbx, 2)
    sbx("up", "-y", "web", timeout=900)  # and what it depends on
    assert there(sbx) == dict.fromkeys(WELL, True)
    for name in ("ready", "done"):
        before = int((sbx.project / "work" / name).stat().st_mtime)  # one clock: the workspace is this host's
        assert min(started_at(sbx, "web-1"), started_at(sbx, "web-2")) >= before
    sbx("plan", "--detailed-exitcode", code=0)

    # What depends on something that fails is not started; everything else is.
    write(sbx, 3)
    failed = sbx("up", "-y", "--profile", "ci", code=1, timeout=900).stderr
    assert "order/broken" in failed
    assert there(sbx) == {**dict.fromkeys(WELL, True), "web-3": True, "broken": True, "late": False}
    sbx("plan", "--detailed-exitcode", code=0)  # nobody asked for `ci`

    # Once it is mended, it is run again for who waits for it, on the machine that it has.
    (sbx.project / "work" / "mended").touch()
    since = started_at(sbx, "broken")
    assert "sandbox broken: restart (its main process exited with 3" in sbx("plan", "--profile", "ci").stdout
    sbx("up", "-y", "--profile", "ci", timeout=900)
    assert (there(sbx)["late"], started_at(sbx, "broken")) == (True, since)
    sbx("plan", "--profile", "ci", "--detailed-exitcode", code=0)
    sbx("rm", "-y", "late")

    write(sbx, 2)
    assert "sandbox web-3: orphan" in sbx("up", "-y").stderr
    assert there(sbx)["web-3"]
    sbx("up", "-y", "--remove-orphans")
    assert "web-3" not in there(sbx)
    assert "say which one: order/web-1, order/web-2" in sbx("exec", "web", "true", code=125).stderr

    sbx("down", "-y")
    assert there(sbx) == {}
