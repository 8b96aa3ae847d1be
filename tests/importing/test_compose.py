"""Values of Compose, and fields that only later versions of the language have."""

from types import SimpleNamespace

import pytest

from sandboxfile.importing import Draft, Imported, Source, compose, convert
from sandboxfile.importing.compose_values import variables


def imported(text: str) -> Imported:
    found = convert("compose", Source(text, "compose.yaml", "/home/ada/shop", "/home/ada/shop"))
    assert found.text is not None, found.diagnostics
    return found


@pytest.mark.parametrize(
    ("written", "meant"),
    [("$A/$B_1", "${A}/${B_1}"), ("${A:-$B}", "${A:-${B}}"), ("5$$", "5$$"), ("$$A", "$$A"), ("a", "a"), ("$1", "$1")],
)
def test_variables_without_braces_get_them(written: str, meant: str) -> None:
    assert variables(written) == meant


@pytest.mark.parametrize(
    ("port", "written"),
    [
        ('"8080:80"', '["8080:80"]'),
        ('"8080:80/tcp"', '["8080:80"]'),
        ('"[::1]:8080:80"', '["[::1]:8080:80"]'),
        ('"0.0.0.0:8080:80"', '["0.0.0.0:8080:80"]'),
        ('"${PORT:-8080}:80"', '["${PORT:-8080}:80"]'),
        ('"3000-3001:3000-3001"', '["3000:3000", "3001:3001"]'),
        ("{target: 80, published: 8080, protocol: tcp}", '["8080:80"]'),
    ],
)
def test_ports_are_carried_over_and_closed_unless_an_address_is_given(port: str, written: str) -> None:
    found = imported(f"services: {{web: {{ports: [{port}]}}}}")
    assert f"    ports: {written}\n" in (found.text or "")
    everywhere = [note for note in found.notes if "127.0.0.1" in note.why]
    assert bool(everywhere) == ("::1" not in port and "0.0.0.0" not in port)


@pytest.mark.parametrize(
    "port", ["80", '"80"', '"53:53/udp"', '"1-3:1-2"', '"1-200:1-200"', '"a:b"', '"9-1:9-1"', "{target: 80}",
             "{target: 53, published: 53, protocol: udp}", '"$P"']
)  # fmt: skip
def test_other_ports_are_told_with_their_place(port: str) -> None:
    found = imported(f"services: {{web: {{ports: [{port}]}}}}")
    assert "    ports:" not in (found.text or "")
    assert any(note.what.startswith("services.web.ports[0]") and note.span for note in found.notes)


def test_a_read_only_mount_that_is_not_plainly_so_is_not_carried_over_as_writable() -> None:
    third = "{type: bind, source: ./c, target: /c, read_only: true}"
    text = f"services: {{web: {{volumes: ['./a:/a:${{MODE}}', './b:/b:ro,z', {third}]}}}}"
    found = imported(text)
    assert 'workspaces: ["./b:/b:ro", "./c:/c:ro"]' in (found.text or "")
    assert "./a" in " ".join(note.what for note in found.notes)


def parts(text: str, monkeypatch: pytest.MonkeyPatch, *fields: str) -> dict[tuple[str | int, ...], object]:
    monkeypatch.setattr(compose, "Sandbox", SimpleNamespace(model_fields=dict.fromkeys(fields)))
    draft = Draft()
    compose.draft(Source(text, "compose.yaml", "/a", "/a"), draft)
    assert not draft.problems
    return {part.path[2:]: part.value for part in draft.parts}


def test_health_checks_and_dependencies_are_carried_over_where_the_language_has_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = """
services:
  DB: {healthcheck: {test: [CMD, pg_isready], interval: 5s, retries: 3, start_interval: 1s}}
  web: {depends_on: {DB: {condition: service_healthy}}, profiles: [ci], scale: 2}
"""
    found = parts(text, monkeypatch, "healthcheck", "depends_on", "profiles", "scale")
    assert found["healthcheck",] == {"command": ["pg_isready"], "interval": "5s", "retries": 3}
    assert found["depends_on", "db"] == {"condition": "healthy"}
    assert found["profiles",] == ["ci"]
    assert found["scale",] == 2


@pytest.mark.parametrize(
    ("test", "command"),
    [("curl -f x", "curl -f x"), ("[CMD-SHELL, curl -f x]", "curl -f x"), ("[CMD, curl, x]", ["curl", "x"])],
)
def test_health_checks_have_one_command(test: str, command: object, monkeypatch: pytest.MonkeyPatch) -> None:
    found = parts(f"services: {{web: {{healthcheck: {{test: {test}}}}}}}", monkeypatch, "healthcheck")
    assert found["healthcheck",] == {"command": command}


def test_where_the_language_has_them_not_they_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compose, "Sandbox", SimpleNamespace(model_fields={}))
    found = imported("services: {web: {healthcheck: {test: x}, depends_on: [db], profiles: [a], scale: 2}, db: {}}")
    told = {note.what for note in found.notes}
    assert {f"services.web.{key}" for key in ("healthcheck", "depends_on", "profiles", "scale")} <= told
