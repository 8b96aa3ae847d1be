"""The text of the systemd unit: words that mean something to systemd are only words."""

import shutil
import subprocess

import pytest

from sandboxfile.cli.reconciling.unit import unit_name, unit_path, unit_text

WORDS = ["/opt/my apps/sbx", "reconcile", "--git=/srv/100%/$HOME", 'a"b', "c\\d"]


def test_words_are_quoted_as_systemd_reads_them():
    text = unit_text("shop", WORDS, {"PATH": '/bin:/x y/$A/%h"', "TOKEN": "secret"})
    [start] = [line for line in text.splitlines() if line.startswith("ExecStart=")]
    assert start == r'ExecStart="/opt/my apps/sbx" "reconcile" "--git=/srv/100%%/$$HOME" "a\"b" "c\\d"'
    assert r'Environment="PATH=/bin:/x y/$A/%%h\""' in text
    assert "secret" not in text


def test_sandboxes_outlive_the_loop_and_what_they_need_is_not_forbidden():
    text = unit_text("shop", ["/usr/bin/sbx"], {})
    assert "KillMode=process" in text
    assert "Restart=on-failure" in text
    assert "NoNewPrivileges" not in text


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
def test_systemd_finds_nothing_wrong_with_it(tmp_path):
    path = tmp_path / unit_name("shop")
    path.write_text(unit_text("shop", ["/bin/true", *WORDS[1:]], {"PATH": "/bin"}))
    argv = ["systemd-analyze", "--user", "verify", str(path)]
    done = subprocess.run(
        argv, capture_output=True, text=True, env={"XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)}
    )
    assert str(path.name) not in done.stderr, done.stderr


def test_it_is_where_systemd_looks(tmp_path):
    assert unit_path("shop", {}, tmp_path) == tmp_path / ".config/systemd/user/sbx-reconcile-shop.service"
    assert unit_path("shop", {"XDG_CONFIG_HOME": "/c"}, tmp_path).parent.parent.parent.as_posix() == "/c"
