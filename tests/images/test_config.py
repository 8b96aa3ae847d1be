"""An image's own configuration: what is kept, what is refused."""

import platform

import pytest

from sandboxfile.errors import BuildError
from sandboxfile.images.config import ENTRIES, ImageConfig, architecture, from_json

WHOLE = ImageConfig(
    env=(("PATH", "/bin"), ("EMPTY", ""), ("EQUALS", "a=b")), user="1000:www", workdir="/srv", command=("serve", "-v")
)


def test_what_is_written_is_read_back():
    assert from_json(WHOLE.to_json()) == WHOLE
    assert from_json(ImageConfig().to_json()) == ImageConfig()


def test_what_is_empty_is_left_out():
    assert ImageConfig().to_json() == {}


def test_an_image_may_say_nothing_at_all():
    assert from_json(None) == ImageConfig()
    assert from_json({"Env": None, "Cmd": None, "User": None, "Labels": {"a": "b"}}) == ImageConfig()


def test_entrypoint_and_command_are_one():
    assert from_json({"Entrypoint": ["/init", "--"], "Cmd": ["sh"]}).command == ("/init", "--", "sh")


def test_the_last_of_two_values_holds():
    assert from_json({"Env": ["A=1", "B=2", "A=3"]}).env == (("A", "3"), ("B", "2"))


@pytest.mark.parametrize(
    "value",
    [
        [],
        {"Env": "A=1"},
        {"Env": ["=value"]},
        {"Env": [1]},
        {"Env": ["A=\0"]},
        {"Env": ["A=\ud800"]},
        {"Env": ["A=" + "x" * (200 << 10)]},
        {"Env": [f"V{number}=" for number in range(ENTRIES + 1)]},
        {"User": 0o1000},
        {"WorkingDir": ["/"]},
        {"Entrypoint": "sh -c"},
    ],
)
def test_what_no_process_could_be_given_is_refused(value):
    with pytest.raises(BuildError):
        from_json(value)


def test_this_machine_is_called_as_images_call_it(monkeypatch):
    for theirs, ours in (("x86_64", "amd64"), ("aarch64", "arm64"), ("riscv64", "riscv64")):
        monkeypatch.setattr(platform, "machine", lambda theirs=theirs: theirs)
        assert architecture() == ours
