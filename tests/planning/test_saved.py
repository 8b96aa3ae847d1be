"""Saved plans: what comes back is what was saved, and nothing that anybody else wrote comes back at all."""

import json

import pytest

from sandboxfile.diagnostics import Span, warning
from sandboxfile.errors import StateError
from sandboxfile.model.credential import Credential, Injection, SecretSource
from sandboxfile.model.desired import Command, DesiredSandbox, Image, Mount, Port, Resources, Workspace
from sandboxfile.model.observed import Applied, Machine, MainProcess, ObservedSandbox, ObservedState
from sandboxfile.model.plan import (
    AttachVolume,
    AttachWorkspace,
    BringBack,
    BuildImage,
    Change,
    CheckAgent,
    CheckpointSandbox,
    CreateSandbox,
    CreateVolume,
    DeleteSandbox,
    DeleteVolume,
    DetachVolume,
    DetachWorkspace,
    FieldChange,
    GrowDisk,
    GrowVolume,
    Operation,
    Plan,
    PreparePlatform,
    ProvideSecrets,
    RecordVolume,
    ResumeSandbox,
    RunSetup,
    SetPolicy,
    SetPorts,
    StartMain,
    StartSandbox,
    Step,
    StopSandbox,
    UpdateRecord,
    WaitFor,
)
from sandboxfile.model.policy import Layer, Policy, Rule
from sandboxfile.model.spec_templates import Template
from sandboxfile.model.template import BuildStep, DesiredTemplate, Origin, PlacedFile, Recipe
from sandboxfile.names import SandboxId, VolumeId
from sandboxfile.planning.saved import SavedPlan, decode, encode
from sandboxfile.planning.snapshot import observation_fingerprint, snapshot

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
ID, VOLUME = SandboxId("shop", "web"), VolumeId("shop", "data")
CREDENTIAL = Credential("tracker", SecretSource("command", command=("pass", "x")), (Injection("a.example", 8443),))
POLICY = Policy(
    (Layer("team", enforced=True), Layer("policy web", "allow", (Rule("a.example", until="2027-01-31", reason="r"),))),
    (("PIP_INDEX_URL", "https://pip.example"),),
    (CREDENTIAL,),
)
SPEC = DesiredSandbox(
    ID,
    "dev",
    Image("d" * 64, "debian:trixie"),
    workspaces=(Workspace("/a", "/b", "ro", (".git/hooks",)),),
    policy=POLICY,
    env=(("A", "'\"\n|`é"),),
    resources=Resources(4, 1 << 30, 1 << 33),
    setup=(Command(("npm", "ci")),),
    command=Command(("serve",)),
    restart="always",
    protect=True,
    ports=(Port(8080, 80),),
)
TEMPLATE = DesiredTemplate(
    "dev",
    Recipe(
        Origin("debian", "trixie", path="/x"),
        (BuildStep("files", files=(PlacedFile("/t", 0o644, "sha256:a", "/s"),)),),
        1,
        "d" * 64,
    ),
    POLICY,
    locked=True,
    content="sha256:c",
    frozen=True,
)
OPERATIONS = (
    PreparePlatform(),
    BuildImage(TEMPLATE),
    CreateSandbox(SPEC, "/p/sandbox.yaml"),
    StartSandbox(ID),
    RunSetup(ID),
    StartMain(ID),
    AttachWorkspace(ID, SPEC.workspaces[0]),
    DetachWorkspace(ID, "/b"),
    SetPolicy(ID, POLICY),
    SetPorts(ID, SPEC.ports),
    ProvideSecrets(ID, (CREDENTIAL,)),
    CheckAgent(ID),
    GrowDisk(ID, 1 << 34),
    UpdateRecord(SPEC, "/p/sandbox.yaml"),
    ResumeSandbox(ID),
    StopSandbox(ID),
    DeleteSandbox(ID),
    CheckpointSandbox(ID, "before-20261121-223405"),
    BringBack(ID),
    WaitFor(ID, "healthy"),
    CreateVolume(VOLUME, 1 << 30, "/p/sandbox.yaml"),
    RecordVolume(VOLUME, "/p/sandbox.yaml"),
    GrowVolume(VOLUME, 1 << 31, ID),
    AttachVolume(ID, Mount("/data", "data")),
    DetachVolume(ID, "/data"),
    DeleteVolume(VOLUME),
)
STEPS = tuple(
    Step(f"step {index}", operation, "because", (f"step {index - 1}",) if index else ())
    for index, operation in enumerate(OPERATIONS)
)
MACHINE = Machine("running", 4, 1 << 30, 1 << 33, SPEC.workspaces, MainProcess("exited", 1, 2), "kvm", "b", "t")
FOUND = ObservedSandbox(ID, "running", Applied(SPEC, "/p/sandbox.yaml", "t", 1), MACHINE, stale_secrets=("tracker",))
STATE = ObservedState("shop", (FOUND,), {"d" * 64: "sha256:c"}, True)
PLAN = Plan(
    "shop",
    observation_fingerprint(STATE, STEPS),
    (Change("sandbox web", "replace", "why", (FieldChange("env.A", None, "x", "live", "r"),), True, ("web can",)),),
    STEPS,
    (SandboxId("shop", "old"),),
    (warning("Little memory", "x", Span("f", 1, 2, 3, 4), "hint"),),
)
SAVED = SavedPlan(PLAN, snapshot(STATE, STEPS), ("/p/sandbox.yaml",))
TEXT = encode(SAVED, KEY, "1.0")


def test_every_kind_of_step_comes_back_as_it_was_saved():
    assert {type(operation) for operation in OPERATIONS} == set(Operation.__args__)
    found = decode(TEXT.encode(), KEY, "1.0")
    assert found == SAVED
    assert found.plan.steps[1].operation.template.frozen  # takes no part in comparison, and must not be lost
    assert found.plan.steps[1].operation.template.recipe.steps[0].files[0].source == "/s"


def test_how_the_file_wrote_a_template_is_not_saved():
    written = DesiredTemplate("dev", TEMPLATE.recipe, written=Template(base="debian:trixie"))
    plan = Plan("shop", "f", steps=(Step("b", BuildImage(written), "why"),))
    [step] = decode(encode(SavedPlan(plan, SAVED.rests_on), KEY, "1.0").encode(), KEY, "1.0").plan.steps
    assert step.operation == BuildImage(written)
    assert step.operation.template.written is None


def test_the_same_plan_is_the_same_text_and_white_space_is_free():
    assert encode(SAVED, KEY, "1.0") == TEXT
    assert decode(json.dumps(json.loads(TEXT)).encode(), KEY, "1.0") == SAVED


def leaves(value, path=()):
    """The path of every scalar."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if children is None:
        return [path]
    return [leaf for key, child in children for leaf in leaves(child, (*path, key))]


def test_whatever_is_changed_in_it_it_is_refused():
    for path in leaves(json.loads(TEXT)):
        content = json.loads(TEXT)
        place = content
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = [place[path[-1]], 1]
        with pytest.raises(StateError):
            decode(json.dumps(content).encode(), KEY, "1.0")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda content: content["plan"]["steps"].pop(), "somebody has changed it"),
        (lambda content: content.update(more=1), "somebody has changed it"),
        (lambda content: content.pop("seal"), "somebody has changed it"),
        (lambda content: content.update(seal=None), "somebody has changed it"),
        (lambda content: content.update(sandboxfile_plan=2), "format 2"),
        (lambda content: content.pop("sandboxfile_plan"), "no saved plan"),
        (lambda content: content.pop("made_by"), "another user"),
    ],
)
def test_a_tampered_plan_is_refused_clearly(change, match):
    content = json.loads(TEXT)
    change(content)
    with pytest.raises(StateError, match=match):
        decode(json.dumps(content).encode(), KEY, "1.0")


@pytest.mark.parametrize("data", [b"", b"[]", b"7", b"name: shop", b"\xff", b"[" * 100_000, b'{"a": ' * 100_000])
def test_what_is_no_plan_is_refused(data):
    with pytest.raises(StateError, match="no saved plan"):
        decode(data, KEY, "1.0")


@pytest.mark.parametrize("key", [OTHER_KEY, None])
def test_a_plan_of_another_user_is_refused(key):
    with pytest.raises(StateError, match="another user or on another host"):
        decode(TEXT.encode(), key, "1.0")


def test_a_plan_of_another_version_is_refused():
    with pytest.raises(StateError, match=r"sbx 1\.0 saved it, and this is sbx 2\.0"):
        decode(TEXT.encode(), KEY, "2.0")
    sealed_otherwise = encode(SAVED, OTHER_KEY, "1.0").replace(json.loads(TEXT)["made_by"], "x")
    with pytest.raises(StateError, match="another user"):
        decode(sealed_otherwise.encode(), KEY, "1.0")
