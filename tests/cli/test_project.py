"""Which file and which sandbox is meant."""

import pytest

from sandboxfile.cli.project import find_file, match_name
from sandboxfile.errors import NotFoundError
from sandboxfile.names import UNMANAGED, SandboxId

KNOWN = [SandboxId("shop", "web"), SandboxId("shop", "db"), SandboxId("blog", "web"), SandboxId("blog", "cache")]


def test_no_file_is_an_error_that_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFoundError) as caught:
        find_file(None)
    assert "sbx init" in caught.value.hint
    with pytest.raises(NotFoundError, match=r"no file other\.yaml"):
        find_file("other.yaml")


def test_a_name_means_the_sandbox_of_the_project_here():
    assert match_name("web", KNOWN, "blog") == SandboxId("blog", "web")
    assert match_name("db", KNOWN, "blog") == SandboxId("shop", "db")
    assert match_name("cache", KNOWN, None) == SandboxId("blog", "cache")
    assert match_name("shop/web", KNOWN, "blog") == SandboxId("shop", "web")


def test_an_unmanaged_sandbox_is_found_by_its_name_unless_the_project_has_one_of_that_name():
    known = [*KNOWN, SandboxId(UNMANAGED, "web"), SandboxId(UNMANAGED, "box")]
    assert match_name("box", known, "shop") == SandboxId(UNMANAGED, "box")
    assert match_name("web", known, "shop") == SandboxId("shop", "web")
    assert match_name("web", known, None) == match_name("web", known, "other") == SandboxId(UNMANAGED, "web")
    assert match_name("_run/web", known, "shop") == SandboxId(UNMANAGED, "web")


def test_an_ambiguous_name_lists_what_it_could_be():
    with pytest.raises(NotFoundError) as caught:
        match_name("web", KNOWN, "other")
    assert caught.value.hint == "say which one: shop/web, blog/web"


@pytest.mark.parametrize(
    ("name", "hint"), [("dbb", "did you mean db"), ("shop/wbe", "did you mean shop/web"), ("zzzz", "ls -a")]
)
def test_an_unknown_name_proposes_near_ones(name, hint):
    with pytest.raises(NotFoundError) as caught:
        match_name(name, KNOWN, "shop")
    assert hint in caught.value.hint
