"""What a machine was not allowed to reach."""

import json

from sandboxfile.applying.traffic import blocked


def test_hosts_that_were_blocked_each_once_and_nothing_that_is_no_record(tmp_path):
    log = tmp_path / "network.log"
    records = [
        {"verdict": "blocked", "host": "evil.example.org", "port": 443},
        {"verdict": "allowed", "host": "npm.example.com", "port": 443},
        {"verdict": "blocked", "host": "evil.example.org", "port": 443},
        {"verdict": "blocked", "host": "name.example.org"},
        {"host": "x"},
        [],
    ]
    log.write_text("".join(json.dumps(record) + "\n" for record in records) + "{half")
    assert blocked(log) == ["evil.example.org:443", "name.example.org"]
    assert blocked(tmp_path / "none") == []
