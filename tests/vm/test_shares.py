"""What the watcher of protected paths takes for the same file. The rest of shares is in test_shares_scenario.py."""

import time

from sandboxfile.vm import shares


def test_a_file_that_was_unlinked_and_written_anew_is_another_one_whatever_its_number(tmp_path, monkeypatch):
    path = tmp_path / "hooks/config"
    path.parent.mkdir()
    path.touch()
    before = shares._identity(str(tmp_path), "hooks/config")
    assert shares._identity(str(tmp_path), "hooks/config") == before
    for _ in range(3):
        time.sleep(0.02)  # births are told by the tick
        path.unlink()
        path.touch()
        now = shares._identity(str(tmp_path), "hooks/config")
        assert now != before
        before = now
    monkeypatch.setattr(shares, "born", lambda handle: 1)
    assert shares._identity(str(tmp_path), "hooks/config") != before


def test_a_link_is_itself_and_what_is_not_there_is_nothing(tmp_path):
    (tmp_path / "link").symlink_to("elsewhere")
    [(_, number, _)] = shares._identity(str(tmp_path), "link")
    assert number == (tmp_path / "link").lstat().st_ino
    assert shares._identity(str(tmp_path), "link/below") is None
    assert shares._identity(str(tmp_path), "nothing") is None
