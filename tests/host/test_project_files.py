"""What lies beside a sandbox file, read whatever it is."""

import os

import pytest

from sandboxfile.host.project_files import overrides_of, read_named


def test_an_override_lies_beside_its_file(tmp_path):
    assert overrides_of(tmp_path / "sandbox.yml") == (
        tmp_path / "sandbox.override.yaml",
        tmp_path / "sandbox.override.yml",
    )


def test_a_named_file_is_read_also_from_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.yaml").write_text("a: ü")
    assert read_named("~/a.yaml") == read_named(str(tmp_path / "a.yaml")) == ("a: ü", "")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none", "no such file"),
        ("directory", "not a regular file"),
        ("pipe", "not a regular file"),
        ("binary", "UTF-8"),
    ],
)
def test_why_there_is_no_text_is_told(tmp_path, name, reason):
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "binary").write_bytes(b"\xff")
    text, said = read_named(str(tmp_path / name))
    assert text is None
    assert reason in said
