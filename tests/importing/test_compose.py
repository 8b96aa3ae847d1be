"""Values of Compose, and what says when a service is there."""

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


@pytest.mark.parametrize(
    ("mounts", "written", "told"),
    [
        ("'.:/app', './media:/app/media'", '[".:/app"]', None),
        ("'./media:/app/media', '.:/app/'", '[".:/app/"]', None),
        ("'.:/app', '../lib:/app/lib'", '[".:/app"]', "cannot lie in another one, which is at /app"),
        ("'.:/app:ro', './media:/app/media'", '[".:/app:ro"]', "it is read-only, as /app is"),
        ("'.:/app:ro', './media:/app/media:ro'", '[".:/app:ro"]', None),
        ("'.:/app', './app:/application'", '[".:/app", "./app:/application"]', None),
        ("'.:/app', './a:/app/a', './a/b:/app/a/b'", '[".:/app"]', None),
    ],
)
def test_what_lies_in_another_directory_is_there_already_or_told(mounts: str, written: str, told: str | None) -> None:
    found = imported(f"services: {{web: {{image: a, command: b, volumes: [{mounts}]}}}}")
    assert f"    workspaces: {written}\n" in (found.text or "")
    assert [note.why for note in found.notes if ".volumes[" in note.what and not (told and told in note.why)] == []
    assert not told or any(told in note.why for note in found.notes)


def test_what_is_read_only_in_a_writable_directory_stays_so() -> None:
    mounts = "['.:/app', './conf/a:/app/conf/a:ro', './conf:/app/conf:ro']"
    item = parts(f"services: {{web: {{volumes: {mounts}}}}}")[("workspaces",)]
    assert item == {"source": ".", "target": "/app", "protect": ["conf/a", "conf"]}


def test_a_file_is_no_workspace() -> None:
    text = "services: {web: {volumes: ['./nginx.conf:/etc/nginx.conf:ro', './site:/site']}}"
    files = {"/home/ada/shop/nginx.conf"}
    found = convert("compose", Source(text, "compose.yaml", "/home/ada/shop", "/home/ada/shop", files.__contains__))
    assert 'workspaces: ["./site:/site"]' in (found.text or "")
    [note] = [note for note in found.notes if "nginx.conf" in note.what]
    assert "it is a file, and a workspace is a directory" in note.why


def parts(text: str) -> dict[tuple[str | int, ...], object]:
    """What is said of the sandboxes, by field; of lists the last item."""
    draft = Draft()
    compose.draft(Source(text, "compose.yaml", "/a", "/a"), draft)
    assert not draft.problems
    return {part.path[2:]: part.value for part in draft.parts}


def told(found: Imported) -> dict[str, str]:
    return {note.what: note.why for note in found.notes}


def test_health_checks_dependencies_profiles_and_scale_are_carried_over() -> None:
    text = """
services:
  DB: {healthcheck: {test: [CMD, pg_isready], interval: 5s, retries: 3, start_interval: 1s}}
  job: {command: run}
  web:
    depends_on:
      DB: {condition: service_healthy, restart: true}
      job: {condition: service_completed_successfully, required: false}
    profiles: [ci]
    deploy: {replicas: 2}
"""
    found = parts(text)
    assert (found["healthcheck", "command"], found["healthcheck", "interval"]) == (["pg_isready"], "5s")
    assert found["healthcheck", "retries"] == 3
    assert found["depends_on", "db"] == {"condition": "healthy"}
    assert found["depends_on", "job"] == {"condition": "completed"}
    assert found["profiles",] == "ci"
    assert found["scale",] == 2
    notes = told(imported(text))
    assert "restarted" in notes["services.web.depends_on.DB.restart"]
    assert {"services.web.depends_on.job.required", "services.DB.healthcheck.start_interval"} <= set(notes)


@pytest.mark.parametrize(
    ("test", "command"),
    [
        ("curl -f x", "curl -f x"),
        ("'echo \"'", 'echo "'),
        ("[CMD-SHELL, curl -f $X]", "curl -f ${X}"),
        ("[CMD, curl, x]", ["curl", "x"]),
        ("[NONE]", None),
        ("[curl, x]", None),
        ("[CMD]", None),
        ("''", None),
    ],
)
def test_health_checks_have_one_command(test: str, command: object) -> None:
    text = f"services: {{web: {{healthcheck: {{test: {test}, interval: 1s}}}}}}"
    assert parts(text).get(("healthcheck", "command")) == command
    assert ("services.web.healthcheck" in told(imported(text))) == (command is None)


def test_a_disabled_health_check_is_none() -> None:
    text = "services: {web: {healthcheck: {test: x, disable: true, retries: 2}}}"
    assert not [key for key in parts(text) if key[:1] == ("healthcheck",)]


@pytest.mark.parametrize(
    ("other", "condition", "why"),
    [
        ("{command: x}", "service_healthy", "healthcheck of its image"),
        ("{}", "service_completed_successfully", "what its image would start"),
        ("{command: x, restart: unless-stopped}", "service_completed_successfully", "started again"),
        ("{command: x}", "service_odd", "no condition"),
    ],
)
def test_a_condition_that_nothing_makes_true_is_told_and_the_start_is_waited_for(
    other: str, condition: str, why: str
) -> None:
    text = f"services: {{a: {{depends_on: {{b: {{condition: {condition}}}}}}}, b: {other}}}"
    assert parts(text)["depends_on", "b"] == {"condition": "started"}
    assert why in told(imported(text))["services.a.depends_on.b"]


def test_a_dependency_on_what_is_not_there_is_told() -> None:
    assert told(imported("services: {a: {depends_on: [b]}}"))["services.a.depends_on.b"] == "there is no such service"


@pytest.mark.parametrize(
    ("fields", "carried"),
    [
        ("scale: 3", 3),
        ('scale: "${N:-2}"', "${N:-2}"),
        ("deploy: {replicas: 0}, ports: ['80:80']", 0),
        ("scale: 1, ports: ['80:80']", None),
        ("scale: 2, ports: ['80:80']", None),
        ("scale: 2, volumes: ['data:/data']", None),
        ("scale: 2, volumes: [{type: volume, source: data, target: /data}]", None),
        ("scale: 2, volumes: ['./data:/data']", 2),
    ],
)
def test_what_can_be_several_is_scaled(fields: str, carried: object) -> None:
    text = f"services: {{web: {{{fields}}}}}"
    assert parts(text).get(("scale",)) == carried
    assert any("not scaled" in why for why in told(imported(text)).values()) == (carried is None and "scale: 2" in text)


def test_a_variable_that_must_be_set_need_not_be_for_the_import() -> None:
    found = imported("services: {db: {image: 'x:1', environment: {A: '${A:?set it}', B: '${B}'}, cpus: '${CPUS}'}}")
    assert '      A: "${A:?set it}"\n      B: "${B}"\n' in (found.text or "")
    assert '      cpus: "${CPUS}"\n' in (found.text or "")


def test_a_named_volume_goes_to_the_first_who_has_it() -> None:
    text = """
services:
  a: {volumes: ["My Data:/data", "log:/log:ro", /anonymous]}
  b: {volumes: [{type: volume, source: log, target: /log}, {type: tmpfs, target: /t}, "${X}:/x"]}
volumes: {My Data: , log: {driver: local}}
"""
    found = imported(text)
    assert "volumes:\n  my-data: {}\n  log: {}\n" in (found.text or "")
    assert '    volumes: ["my-data:/data", "log:/log"]\n' in (found.text or "")
    notes = [(note.what, note.why) for note in found.notes]
    assert ("services.b.volumes[0]", "one sandbox at a time has a volume, and `a` has it") in notes
    assert ("services.a.volumes[1] log:/log:ro", "a volume can be written to here") in notes
    assert ("volumes", "only their names are carried over, with who has them") in notes
    assert sum("begins empty" in why for _, why in notes) == 2
    assert {"services.a.volumes[2] /anonymous", "services.b.volumes[1]"} <= {what for what, _ in notes}
