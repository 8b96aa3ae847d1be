"""`plan`: which sandboxes it is about, in which words it is shown, and what it refuses to save over."""

import json

FILE = "name: shop\nsandboxes:\n  web: {}\n  db: {}\n"


def changed(said):
    """What is to be done, by sandbox."""
    changes = json.loads(said.stdout)["changes"]
    return {
        each["subject"].removeprefix("sandbox "): each["action"] for each in changes if "sandbox" in each["subject"]
    }


def test_target_is_the_same_as_a_name(sbx, project):
    (project / "sandbox.yaml").write_text(FILE)
    named = sbx("plan", "db", "--format", "json")
    assert changed(named) == {"db": "create"}
    assert sbx("plan", "--target", "db", "--format", "json").stdout == named.stdout
    both = sbx("plan", "--target", "db", "--target", "web", "--format", "json")
    assert both.stdout == sbx("plan", "web", "--target", "db", "--format", "json").stdout
    assert changed(both) == {"db": "create", "web": "create"}
    assert "no sandbox 'wbe'" in sbx("plan", "--target", "wbe", code=1).stderr


def test_replace_plans_another_one_although_nothing_changed(sbx, project, stopped):
    (project / "sandbox.yaml").write_text(FILE)
    stopped("web")
    said = sbx("plan", "web", "--replace", "web")
    assert "-/+ sandbox web: replace" in said.stdout
    assert "THE DISK IS LOST" in said.stdout
    assert changed(sbx("plan", "--replace", "web", "--format", "json")) == {"web": "replace", "db": "create"}
    assert changed(sbx("plan", "db", "--replace", "web", "--format", "json")) == {"web": "replace", "db": "create"}
    assert "no sandbox 'wbe'" in sbx("plan", "--replace", "wbe", code=1).stderr
    assert "THE DISK IS LOST" in sbx("up", "--replace", "web", "web", code=1).stderr  # nobody to ask: nothing is done


def test_markdown_is_a_comment_on_a_pull_request(sbx, project):
    (project / "sandbox.yaml").write_text(FILE)
    said = sbx("plan", "--format", "markdown", "--detailed-exitcode", code=2)
    assert said.stdout.startswith("### sbx plan: <code>shop</code>\n")
    assert "<code>sandbox web</code> | create |" in said.stdout
    assert "Refused" not in said.stdout
    refused = sbx("plan", "wbe", "--format", "markdown", code=1).stdout
    assert "> **Refused: nothing of this will be done.**" in refused
    assert "the file has no sandbox 'wbe'" in refused


def test_a_plan_is_shown_as_usual_when_it_is_saved(sbx, project, stopped):
    (project / "sandbox.yaml").write_text(FILE)
    stopped("web")
    said = sbx("plan", "-o", "change.plan")
    assert said.stdout == sbx("plan").stdout
    assert "`sbx apply change.plan` does exactly this" in said.stderr
    assert (project / "change.plan").stat().st_mode & 0o777 == 0o600


def test_a_refused_plan_is_not_saved_and_nothing_else_is_overwritten(sbx, project):
    (project / "sandbox.yaml").write_text(FILE)
    sbx("plan", "wbe", "-o", "change.plan", code=1)
    assert not (project / "change.plan").exists()
    assert "is no saved plan" in sbx("plan", "-o", "sandbox.yaml", code=1).stderr
    assert (project / "sandbox.yaml").read_text() == FILE


def test_no_value_of_a_secret_is_in_a_saved_plan(sbx, project, monkeypatch):
    monkeypatch.setenv("TRACKER_TOKEN", "hunter2")
    (project / "sandbox.yaml").write_text(
        "name: shop\n"
        "secrets: {tracker: {env: TRACKER_TOKEN, inject: [{host: tracker.example.com, header: X-Token}]}}\n"
        "sandboxes: {web: {secrets: [tracker]}}\n"
    )
    sbx("plan", "-o", "change.plan")
    text = (project / "change.plan").read_text()
    assert "TRACKER_TOKEN" in text
    assert "hunter2" not in text
