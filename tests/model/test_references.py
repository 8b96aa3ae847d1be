"""What a base can name, read as Docker reads it."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from sandboxfile.model.references import ImageReference, check_base, is_saved_tag, parse_image_reference

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "name", "tag", "digest"),
    [
        ("alpine", "docker.io/library/alpine", "latest", ""),
        ("alpine:3.20", "docker.io/library/alpine", "3.20", ""),
        ("team/image", "docker.io/team/image", "latest", ""),
        ("docker.io/alpine", "docker.io/library/alpine", "latest", ""),
        ("registry.example.com/image", "registry.example.com/image", "latest", ""),
        ("registry.example.com:5000/a/b/c:V1_x", "registry.example.com:5000/a/b/c", "V1_x", ""),
        ("localhost/image", "localhost/image", "latest", ""),
        ("localhost:5000/image:1", "localhost:5000/image", "1", ""),
        ("UPPER/image", "UPPER/image", "latest", ""),
        ("[2001:db8::1]:5000/image", "[2001:db8::1]:5000/image", "latest", ""),
        (f"registry.example.com/image@{DIGEST}", "registry.example.com/image", "", DIGEST),
        (f"registry.example.com/image:1@{DIGEST}", "registry.example.com/image", "1", DIGEST),
        ("a.b/a__b/c--d/e.f_g", "a.b/a__b/c--d/e.f_g", "latest", ""),
    ],
)
def test_an_image_has_one_whole_name(text, name, tag, digest):
    found = parse_image_reference(text)
    assert found == ImageReference(name, tag, digest)
    assert parse_image_reference(str(found)) == found


@pytest.mark.parametrize(
    "text",
    [
        "", " ", ":1", "@" + DIGEST, "a b", "-a", "a/", "/a", "a//b", "Alpine", "a/B", "a:", "a:-1", "a:b c", "a@",
        "a@sha256:12",
        f"a@sha512:{'0' * 128}", "a\n", "a:1\n", "https://registry.example.com/a", "registry.example.com:port/a",
        "a..b/c",
        "a_.b", "a/___b", "a:" + "x" * 129, "a" * 300, "../a", "$(id)", "a;b", f"a@{DIGEST}x",
        "a@" + DIGEST.upper(), "é",
    ],
)  # fmt: skip
def test_nothing_else_is_an_image(text):
    assert parse_image_reference(text) is None


@given(st.text(st.sampled_from("aA0.:/@-_ [] \n$"), max_size=24) | st.text(max_size=12))
def test_what_is_read_is_safe_as_an_argument_and_reads_back(text):
    found = parse_image_reference(text)
    if found is not None:
        assert set(str(found)) <= set(string.ascii_letters + string.digits + ".:/@-_[]")
        assert not str(found).startswith("-")
        assert parse_image_reference(str(found)) == found


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("dev", "dev"),
        ("debian:trixie", "debian:trixie"),
        ("ubuntu:noble", "ubuntu:noble"),
        ("oci:alpine", "oci:docker.io/library/alpine:latest"),
        ("docker:team/x:1", "docker:team/x:1"),
        (f"docker:{DIGEST}", f"docker:{DIGEST}"),
        ("saved:team:v1", "saved:team:v1"),
        ("tar:~/root.tar", "tar:~/root.tar"),
        ("tar:a:b.tar", "tar:a:b.tar"),
    ],
)
def test_every_kind_of_base_has_one_form(written, meant):
    assert check_base(written) == meant
    assert check_base(meant) == meant


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("debian:12", "did you mean `debian:bookworm`?"),
        ("debian:trixi", "did you mean `debian:trixie`?"),
        ("ubuntu:22.04", "did you mean `ubuntu:jammy`?"),
        ("Debian:trixie", "did you mean `debian:trixie`?"),
        ("dockr:x", "did you mean `docker:x`?"),
        ("node:22", "an image of a registry is `oci:node:22`"),
        ("oci:docker://x", "write it without `docker://`"),
    ],
)
def test_what_was_meant_is_suggested(written, hint):
    with pytest.raises(PydanticCustomError) as raised:
        check_base(written)
    assert raised.value.context is not None
    assert raised.value.context["hint"] == hint


@pytest.mark.parametrize("tag", ["a", "team:v1", "a.b_c-d:V1.2_x", "0"])
def test_these_are_tags_of_saved_templates(tag):
    assert is_saved_tag(tag)


@pytest.mark.parametrize(
    "tag", ["", ".", "..", ".a", "-a", "a/b", "A", "a:", "a:.x", "a:b:c", "a\n", "a b", "a" * 65, "../a", "a:-x"]
)
def test_these_are_not(tag):
    assert not is_saved_tag(tag)
