"""Models of the language."""

import datetime
from typing import get_args

import pytest
from pydantic import ValidationError

from sandboxfile.agents import AGENTS
from sandboxfile.agents.builtin import BUILTIN_TEMPLATES, DEFAULT_TEMPLATE
from sandboxfile.model.spec import DEBIAN_SUITES, InjectSpec, PolicySpec, RuleSpec, Sandbox, Secret, Workspace
from sandboxfile.model.spec_agents import AgentName


def test_a_model_refuses_what_it_does_not_know_and_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Workspace.model_validate({"source": ".", "read_only": True})
    workspace = Workspace.model_validate({"source": ".", "x-note": 1})
    with pytest.raises(ValidationError):
        workspace.mode = "ro"


def test_protected_paths_are_normalised() -> None:
    workspace = Workspace.model_validate({"source": ".", "protect": ("./a//b/", "c")})
    assert workspace.protect == ("a/b", "c")


def test_built_in_templates_stand_on_debian() -> None:
    default = BUILTIN_TEMPLATES[DEFAULT_TEMPLATE]
    assert default.base.removeprefix("debian:") in DEBIAN_SUITES
    assert {"sudo", "mount"} <= set(default.packages.apt)
    assert {template.base for template in BUILTIN_TEMPLATES.values()} <= {default.base, *BUILTIN_TEMPLATES}


def test_the_language_knows_the_agents_that_there_are() -> None:
    assert get_args(AgentName) == AGENTS


@pytest.mark.parametrize(
    ("written", "port"),
    [
        ("8080:80", (8080, 80, "127.0.0.1")),
        ("0.0.0.0:8080:80", (8080, 80, "0.0.0.0")),
        ("[0:0::1]:8080:80", (8080, 80, "::1")),
        ({"host": 8080, "guest": 80, "address": "[::]"}, (8080, 80, "::")),
        ({"host": 65535, "guest": 1}, (65535, 1, "127.0.0.1")),
    ],
)
def test_every_form_of_a_port_is_one_port(written, port):
    (spec,) = Sandbox.model_validate({"ports": (written,)}).ports
    assert (spec.host, spec.guest, spec.address) == port


@pytest.mark.parametrize(
    "written",
    [8080, True, None, "", ":", "80", "80:", ":80", "a:80", "80:a", "0:80", "80:65536", "80:80/tcp", "80:80/udp",
     "-1:80", "1-2:80", "x:80:80", "::1:80:80", "[::1:80:80", "[::1%lo]:80:80", "1:2:3:4", "²:80", "80 :80", "1e1:80",
     "9" * 5000 + ":80", {"host": 80}, {"host": 0, "guest": 80}, {"host": 80, "guest": 80, "address": "localhost"}],
)  # fmt: skip
def test_nothing_else_is_a_port(written):
    with pytest.raises(ValidationError):
        Sandbox.model_validate({"ports": (written,)})


@pytest.mark.parametrize(
    ("written", "sources"),
    [
        ({"env": "A"}, ("env",)),
        ({"env": "A", "file": "a"}, ("file",)),
        ({"store": "a"}, ("store",)),
        ({"command": ("a",), "store": "a"}, ("command", "store")),
        ({}, ()),
    ],
)
def test_a_variable_is_a_source_where_there_is_no_other(written, sources):
    assert Secret.model_validate(written).sources == sources


@pytest.mark.parametrize(
    "name", ["", "a b", "a:b", "a\n", "Host", "HOST", "content-length", "Transfer-Encoding", "Proxy-Authorization", "é"]
)
def test_no_secret_goes_into_what_frames_a_request(name):
    with pytest.raises(ValidationError):
        InjectSpec.model_validate({"host": "a", "header": name})


@pytest.mark.parametrize("value", ["", "Bearer", "{Secret}", "{secret}\r\nX: y", "{secret}\0"])
def test_the_value_of_a_header_holds_the_secret_and_no_other_line(value):
    with pytest.raises(ValidationError):
        InjectSpec.model_validate({"host": "a", "header": "X", "value": value})


@pytest.mark.parametrize(
    ("rule", "pattern"),
    [
        ("api.example.com:443", "api.example.com:443"),
        ("203.0.113.0/24", "203.0.113.0/24"),
        ({"host": "api.example.com", "port": 443}, "api.example.com:443"),
        ({"host": "2001:db8::1", "port": 443}, "[2001:db8::1]:443"),
        ({"host": "[2001:db8::1]", "port": 443}, "[2001:db8::1]:443"),
        ({"cidr": "2001:db8::/32"}, "2001:db8::/32"),
        ({"preset": "npm"}, ""),
    ],
)
def test_every_form_of_a_rule_has_one_pattern(rule, pattern):
    assert PolicySpec.model_validate({"allow": (rule,)}).allow[0].pattern == pattern


@pytest.mark.parametrize("written", ["2027-01-31", datetime.date(2027, 1, 31), datetime.datetime(2027, 1, 31, 12)])
def test_a_date_is_a_date_whatever_the_loader_makes_of_it(written):
    assert RuleSpec.model_validate({"host": "a", "until": written}).until == "2027-01-31"


@pytest.mark.parametrize(
    "written", ["20270131", "2027-1-31", "2027-02-30", "2027-W05-1", "", "2027-01-31\n", 2027, None]
)
def test_nothing_else_is_a_date(written):
    with pytest.raises(ValidationError):
        RuleSpec.model_validate({"host": "a", "until": written})
