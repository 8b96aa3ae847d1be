"""`sbx network log` and `summary` over logs on disk."""

import json
import subprocess
import sys

import pexpect
import pytest

FILE = "name: shop\nsandboxes:\n  web: {}\n  db: {}\n"
EVIL = {"verdict": "blocked", "host": "evil.example.com", "status": 403, "rule": "mode deny", "sent": 0, "received": 0}


@pytest.fixture
def logs(stopped, logged, project):
    (project / "sandbox.yaml").write_text(FILE)
    stopped("web")
    stopped("db")
    logged("web", {}, EVIL | {"time": "2026-11-21T11:00:02.000Z"}, '{"time": "2026-11-21T1')
    logged("db", {"time": "2026-11-21T11:00:01.500Z", "method": "POST"})


def test_the_log_of_the_project_is_one_table_by_time(cli, logs):
    lines = cli("network", "log").stdout.splitlines()
    assert lines[0].split() == [
        "TIME",
        "SANDBOX",
        "VERDICT",
        "REQUEST",
        "STATUS",
        "RULE",
        "SENT",
        "RECEIVED",
        "DURATION",
    ]
    assert [line.split()[:5] for line in lines[1:]] == [
        ["2026-11-21T11:00:00.000Z", "shop/web", "allowed", "GET", "https://api.example.com:443/v1"],
        ["2026-11-21T11:00:01.500Z", "shop/db", "allowed", "POST", "https://api.example.com:443/v1"],
        ["2026-11-21T11:00:02.000Z", "shop/web", "blocked", "GET", "https://evil.example.com:443/v1"],
    ]
    assert "200     api.example.com (policy web, sandbox.yaml:3:9)  100 B  2.0 KiB   0.2 s" in lines[1]
    assert "403     mode deny (policy web, sandbox.yaml:3:9)" in lines[3]


def test_names_and_filters_choose(cli, logs):
    assert len(cli("network", "log", "web").stdout.splitlines()) == 3
    assert len(cli("network", "log", "web", "--blocked").stdout.splitlines()) == 2
    assert len(cli("network", "log", "-n", "1").stdout.splitlines()) == 2
    assert len(cli("network", "log", "--since", "2026-11-21T11:00:01Z", "shop/db", "shop/web").stdout.splitlines()) == 3
    assert "no time" in cli("network", "log", "--since", "then", code=1).stderr
    assert "sbx ls -a" in cli("network", "log", "nobody", code=1).stderr


def test_json_is_the_records_a_line_each(cli, logs):
    records = [json.loads(line) for line in cli("network", "log", "--format", "json").stdout.splitlines()]
    assert [record["sandbox"] for record in records] == ["shop/web", "shop/db", "shop/web"]
    assert records[0]["addresses"] == ["203.0.113.5"]
    assert records[0]["inspected"] is True


def test_what_somebody_inside_wrote_drives_no_terminal(cli, stopped, logged):
    stopped("web")
    hostile = "\x1b]0;pwned\x07\n\u202eevil\x9b2J"
    logged("web", {"path": hostile, "host": hostile, "method": hostile, "rule": hostile, "error": hostile, "status": 0})
    for form in ("text", "json"):
        shown = cli("network", "log", "shop/web", "--format", form).stdout
        assert not {"\x1b", "\x07", "\u202e", "\x9b"} & set(shown)
        assert len(shown.splitlines()) == (2 if form == "text" else 1)
    assert not {"\x1b", "\x07", "\u202e", "\x9b"} & set(cli("network", "summary", "shop/web").stdout)


def test_repeats_and_losses_are_told(cli, stopped, logged):
    stopped("web")
    logged("web", EVIL | {"protocol": "dns", "port": 53, "method": None, "path": None, "status": None, "count": 7})
    logged("web", EVIL | {"dropped": 12})
    shown = cli("network", "log", "web").stdout
    assert "dns evil.example.com (7 times) " in shown
    assert "(12 records before this one are lost)" in shown


def test_a_sandbox_without_a_log_has_an_empty_one(cli, stopped):
    stopped("web")
    assert len(cli("network", "log", "web").stdout.splitlines()) == 1
    assert cli("network", "log", "web", "--format", "json").stdout == ""
    assert json.loads(cli("network", "summary", "web", "--format", "json").stdout) == []


def test_without_names_a_file_is_needed(cli, stopped):
    stopped("web")
    assert "no sandbox.yaml here" in cli("network", "log", code=1).stderr


def test_the_log_is_followed(project, environment, stopped, logged):
    stopped("web")
    logged("web", {})
    words = ["-m", "sandboxfile", "network", "log", "web", "-f", "--format", "json"]
    child = pexpect.spawn(sys.executable, words, cwd=str(project), env=environment, encoding="utf-8", timeout=60)
    child.expect("api.example.com")
    logged("web", {"host": "next.example.com"})
    child.expect("next.example.com")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130


def test_the_summary_counts_by_target_and_verdict(cli, logs, logged):
    logged("web", {"time": "2026-11-21T11:00:09.000Z", "port": 80}, {"count": 4, "sent": 1}, EVIL)
    found = json.loads(cli("network", "summary", "web", "--format", "json").stdout)
    assert [(each["verdict"], each["target"], each["requests"], each["sent"]) for each in found] == [
        ("blocked", "evil.example.com:443", 2, 0),
        ("allowed", "api.example.com:443", 5, 101),
        ("allowed", "api.example.com:80", 1, 100),
    ]
    assert found[0]["last"] == "2026-11-21T11:00:02.000Z"
    shown = cli("network", "summary").stdout.splitlines()
    assert shown[0].split() == ["SANDBOX", "VERDICT", "TARGET", "REQUESTS", "SENT", "RECEIVED", "LAST", "RULE"]
    assert len(shown) == 5
    assert len(cli("network", "summary", "--blocked").stdout.splitlines()) == 2


def test_the_log_loads_nothing_heavy(project, environment, stopped, logged):
    stopped("web")
    logged("web", {})
    program = (
        "import sys; from sandboxfile.cli.main import main\n"
        "try: main(['network', 'log', 'web'])\n"
        "finally: print(sorted({'pydantic', 'ruamel', 'anyio', 'mitmproxy', 'asyncssh'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=project, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
