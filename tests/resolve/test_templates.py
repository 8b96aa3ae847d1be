"""A chain of templates is one recipe, named by its content: packages of the first levels at once, the rest in steps."""

from dataclasses import replace

import pytest

from sandboxfile.model.policy import Rule
from sandboxfile.model.template import BuildStep, Origin, PlacedFile, Recipe
from sandboxfile.resolve.inputs import PathFact, PresetFacts, Registry
from sandboxfile.resolve.policies import policy_tests
from sandboxfile.resolve.policy_tests import run_policy_tests
from sandboxfile.resolve.templates import named, title_of

SANDBOXES = "sandboxes: {web: {template: t}}"
BASE = "/home/user/project"
DIGEST = "sha256:" + "a" * 64
NPM = PresetFacts(True, (Registry("https://npm.example.com/"),), (("npm_config_registry", "https://npm.example.com/"),))
APT = PresetFacts(True, (Registry("http://apt.example.com/debian"),))


def template(host, text, name="t"):
    """The template `t` of a file with these templates."""
    state = host.state(f"templates:\n{text}\n{SANDBOXES}")
    return next(item for item in state.templates if item.name == name)


def recipe(host, text):
    return template(host, text).recipe


def with_presets(host):
    host.presets.update(npm=NPM, pip=PresetFacts(True), apt=APT)
    return host


# --- origins -----------------------------------------------------------------------------------------------------


def test_packages_of_all_levels_of_a_debian_chain_belong_to_its_origin(host):
    made = recipe(
        host,
        "  a: {base: debian:bookworm, packages: {apt: [make, git]}}\n"
        "  b: {base: a, env: {X: 1}}\n"
        "  t: {base: b, packages: {apt: [git, vim]}}",
    )
    assert made.origin == Origin("debian", "bookworm", packages=("git", "make", "vim"))
    assert made.steps == ()


def test_the_version_that_was_asked_for_last_is_the_one(host):
    made = recipe(
        host, "  a: {base: debian:sid, packages: {apt: [git=1, make=4, vim]}}\n"
        "  t: {base: a, packages: {apt: [git=2, make, vim=9]}}"
    )  # fmt: skip
    assert made.origin.packages == ("git=2", "make=4", "vim=9")


def test_a_template_without_a_base_stands_on_the_built_in_shell(host):
    origin = recipe(host, "  t: {packages: {apt: [ripgrep]}}").origin
    assert (origin.kind, origin.reference) == ("debian", "trixie")
    assert {"ripgrep", "sudo", "git"} <= set(origin.packages)


@pytest.mark.parametrize(
    ("base", "origin"),
    [
        ("ubuntu:noble", Origin("ubuntu", "noble")),
        ("oci:alpine", Origin("oci", "docker.io/library/alpine:latest")),
        ("oci:localhost:5000/x", Origin("oci", "localhost:5000/x:latest")),
        (f"oci:registry.example.com/a/b:1@{DIGEST}", Origin("oci", "registry.example.com/a/b:1", DIGEST)),
        (f"oci:registry.example.com/a@{DIGEST}", Origin("oci", "registry.example.com/a", DIGEST)),
        ("docker:team/x:1", Origin("local", "team/x:1", "sha256:id")),
        ("saved:team:v1", Origin("saved", "team:v1", "sha256:content")),
        ("tar:./root.tar", Origin("tar", "", "sha256:tar")),
    ],
)
def test_every_base_has_its_origin(host, base, origin):
    host.source("local", "team/x:1", "id").source("saved", "team:v1", "content")
    host.source("tar", f"{BASE}/root.tar", "tar")
    assert recipe(host, f"  t: {{base: '{base}'}}").origin == origin


def test_a_tar_lies_where_its_symlinks_lead(host):
    host.source("tar", f"{BASE}/root.tar", "tar")
    host.facts[f"{BASE}/root.tar"] = PathFact("file", "/srv/root-7.tar", (f"{BASE}/root.tar",))
    assert recipe(host, "  t: {base: 'tar:root.tar'}").origin.path == "/srv/root-7.tar"


def test_a_dockerfile_is_its_context_and_what_it_is_given(host):
    host.source("context", f"{BASE}/image", "context", "docker/File")
    host.environment = {"PASSED": "yes"}
    args = "args: {B: 2, A: 1, PASSED: null, UNSET: null}"
    made = recipe(host, f"  t: {{build: {{context: image, dockerfile: docker/File, target: end, {args}}}}}")
    assert made.origin == Origin(
        "dockerfile", "", "sha256:context", dockerfile="docker/File", target="end",
        args=(("A", "1"), ("B", "2"), ("PASSED", "yes")),
    )  # fmt: skip
    assert made.origin.path == f"{BASE}/image"


def test_what_lies_where_is_no_part_of_a_recipe(host, new_host):
    other = new_host()
    other.file = "/elsewhere/sandbox.yaml"
    text = "  t: {build: image, files: [{source: a, target: /a}]}"
    for one, base in ((host, BASE), (other, "/elsewhere")):
        one.source("context", f"{base}/image", "context", "Dockerfile").source("file", f"{base}/a", "file")
    assert recipe(host, text).digest == recipe(other, text).digest


def test_a_local_image_and_a_saved_template_may_come_later(host):
    state = host.state("templates: {t: {base: 'saved:gone'}, l: {base: 'docker:gone'}}\nsandboxes: {}")
    assert [item.recipe.origin.missing for item in state.templates] == [True, True]


def test_every_missing_file_is_an_error_whether_its_template_is_used_or_not(host):
    host.directory(f"{BASE}/there")
    assert host.summaries(
        "templates: {a: {base: 'tar:x'}, b: {build: there}, c: {files: [{source: y, target: /y}]}, d: {base: c}}\n"
        "sandboxes: {}"
    ) == ["Tar not readable", "Build context not readable", "File not readable"]


# --- steps -------------------------------------------------------------------------------------------------------

LEVELS = """\
  a:
    base: debian:trixie
    packages: {apt: [git], npm: [b, a], pip: [x]}
    files: [{source: ./z, target: /z, mode: "0755"}, {source: ./y, target: /y}]
    run: [make, {command: [npm, ci], user: agent}]
    env: {A: 1, B: 1}
  t:
    base: a
    packages: {apt: [git, vim], npm: [c]}
    env: {B: 2, A: null, C: null}"""


def test_levels_become_steps_in_the_order_apt_npm_pip_files_run(host):
    with_presets(host).source("file", f"{BASE}/y", "y").source("file", f"{BASE}/z", "z")
    made = recipe(host, LEVELS)
    first, second = (("A", "1"), ("B", "1")), (("B", "2"),)
    assert made.origin.packages == ("git", "nodejs", "npm", "python3", "python3-pip", "python3-venv")
    assert made.steps == (
        BuildStep("npm", ("a", "b"), env=first),
        BuildStep("pip", ("x",), env=first),
        BuildStep("files", files=(PlacedFile("/y", 0o644, "sha256:y"), PlacedFile("/z", 0o755, "sha256:z"))),
        BuildStep("run", command=("/bin/sh", "-c", "make"), env=first),
        BuildStep("run", command=("npm", "ci"), user="agent", env=first),
        BuildStep("apt", ("vim",), env=second),
        BuildStep("npm", ("c",), env=second),
    )
    assert [step.place for step in made.steps] == [
        f"sandbox.yaml:{place}" for place in ("4:28", "4:41", "5:5", "6:11", "6:17", "10:16", "10:33")
    ]
    assert made.steps[2].files[1].source == f"{BASE}/z"


def test_steps_know_no_variable_of_the_environment_of_sbx(host, new_host):
    text = "  t: {env: {A: null}, run: [make]}"
    other = new_host()
    other.environment = {"A": "1"}
    assert recipe(host, text) == recipe(other, text)
    assert dict(other.only(f"templates:\n{text}\n{SANDBOXES}").env) == {"A": "1"}


def test_on_other_origins_everything_is_a_step_and_nothing_is_added(host):
    with_presets(host)
    made = recipe(host, "  t: {base: 'oci:alpine', docker: true, packages: {apt: [git], npm: [a], pip: [b]}}")
    assert [(step.kind, step.packages) for step in made.steps] == [("apt", ("git",)), ("npm", ("a",)), ("pip", ("b",))]


@pytest.mark.parametrize(
    ("base", "some", "absent"),
    [
        ("debian:trixie", {"docker.io", "docker-cli", "docker-buildx", "docker-compose", "iptables"}, set()),
        ("debian:bookworm", {"docker.io", "docker-compose", "iptables"}, {"docker-cli", "docker-buildx"}),
        ("ubuntu:noble", {"docker.io", "docker-buildx", "docker-compose-v2", "iptables"}, {"docker-cli"}),
    ],
)
def test_docker_brings_its_packages_where_they_are_known(host, base, some, absent):
    text = f"  t: {{base: {base}, docker: true}}"
    packages = set(recipe(host, text).origin.packages)
    assert some <= packages
    assert not absent & packages
    assert host.only(f"templates:\n{text}\n{SANDBOXES}").docker


def test_docker_of_any_level_counts_for_the_sandbox(host):
    with_presets(host)
    text = "  a: {base: debian:trixie, run: [ls]}\n  b: {base: a, docker: true}\n  t: {base: b, docker: false}"
    assert host.only(f"templates:\n{text}\n{SANDBOXES}").docker
    (run, apt) = recipe(host, text).steps
    assert (run.kind, apt.kind, "docker.io" in apt.packages) == ("run", "apt", True)


# --- names -------------------------------------------------------------------------------------------------------


def test_recipes_are_equal_when_their_inputs_are(host):
    one = recipe(host, "  t: {base: debian:sid, packages: {apt: [b1, a1, b1]}}")
    other = recipe(host, "  x: {base: debian:sid, packages: {apt: [b1]}}\n  t: {base: x, packages: {apt: [a1]}}")
    assert one == other
    assert named(one) == one


CHANGES = [
    {"origin": Origin("debian", "trixie", packages=("git",))},
    {"origin": Origin("debian", "trixie", versions=(("git", "1"),))},
    {"origin": Origin("tar", digest="sha256:b")},
    {"steps": (BuildStep("run", command=("a",)),)},
    {"steps": (BuildStep("run", command=("a",), user="agent"),)},
    {"steps": (BuildStep("run", command=("a",), env=(("A", "1"),)),)},
    {"steps": (BuildStep("files", files=(PlacedFile("/a", 0o644, "sha256:a"),)),)},
    {"steps": (BuildStep("files", files=(PlacedFile("/a", 0o755, "sha256:a"),)),)},
    {"epoch": 1},
]


def test_everything_that_changes_an_image_changes_its_name():
    plain = Recipe(Origin("debian", "trixie"))
    digests = {named(replace(plain, **change)).digest for change in [{}, *CHANGES]}
    assert len(digests) == len(CHANGES) + 1


def test_places_and_paths_do_not():
    step = BuildStep("files", files=(PlacedFile("/a", 0o644, "sha256:a", source="/x/a"),), place="f:1:1")
    moved = BuildStep("files", files=(PlacedFile("/a", 0o644, "sha256:a", source="/y/a"),), place="f:2:1")
    assert named(Recipe(Origin("tar", path="/x"), (step,))).digest == named(Recipe(Origin("tar"), (moved,))).digest


def test_env_and_user_are_no_part_of_an_image_without_steps(host):
    sandboxes = host.state(
        "templates: {a: {env: {X: 1}}, b: {user: root}}\nsandboxes: {one: {template: a}, two: {template: b}}"
    ).sandboxes
    assert sandboxes[0].image == sandboxes[1].image


def test_env_merges_along_the_chain_and_the_nearest_user_counts(host):
    sandbox = host.only(
        "templates:\n  a: {base: debian:bookworm, env: {A: 1, B: 1}, user: dev}\n"
        f"  t: {{base: a, env: {{B: 2}}}}\n{SANDBOXES}"
    )
    assert sandbox.env == (("A", "1"), ("B", "2"))
    assert sandbox.user == "dev"


@pytest.mark.parametrize(
    ("made", "title"),
    [
        (Recipe(Origin("debian", "trixie")), "debian:trixie"),
        (Recipe(Origin("debian", "trixie", packages=("curl", "git"))), "debian:trixie + curl git"),
        (
            Recipe(Origin("debian", "trixie", packages=tuple(f"package-{n}" for n in range(9)))),
            "debian:trixie + package-0 package-1 package-2 package-3 …",
        ),
        (
            Recipe(Origin("oci", "r.example.com/x:1"), (BuildStep("run"),)),
            "oci:r.example.com/x:1, 1 step",
        ),
        (Recipe(Origin("dockerfile", dockerfile="Dockerfile", path="/p/sandbox")), "Dockerfile in ./sandbox"),
        (Recipe(Origin("dockerfile", dockerfile="Dockerfile", path="/p")), "Dockerfile in ."),
        (Recipe(Origin("dockerfile", dockerfile="Dockerfile", path="/project")), "Dockerfile in /project"),
        (Recipe(Origin("tar", path="/p/root.tar"), (BuildStep("run"),) * 3), "tar:./root.tar, 3 steps"),
        (Recipe(Origin("local", "team/x:1")), "local image team/x:1"),
        (Recipe(Origin("saved", "team:v1")), "saved:team:v1"),
    ],
)
def test_a_title_tells_people_what_is_in_an_image(made, title):
    assert title_of(made, "/p") == title


# --- what its build may reach ------------------------------------------------------------------------------------


def reach(host, text):
    policy = template(host, text).policy
    return policy.own.name, [rule.pattern for rule in policy.own.allow], dict(policy.settings)


def test_a_build_reaches_the_registries_of_the_managers_that_run(host):
    with_presets(host)
    assert reach(host, "  t: {base: debian:trixie, packages: {apt: [git]}}") == ("no policy", [], {})
    name, allowed, settings = reach(host, "  t: {base: 'oci:alpine', packages: {apt: [git], npm: [a]}}")
    assert (name, allowed) == ("packages of template t", ["apt.example.com:80", "npm.example.com:443"])
    assert settings == {"npm_config_registry": "https://npm.example.com/"}
    assert reach(host, "  t: {run: [ls]}") == ("no policy", [], {})


def test_the_nearest_policy_of_the_chain_is_that_of_the_build(host):
    with_presets(host)
    text = "  a: {policy: {allow: [a.example.com, preset: npm]}, packages: {npm: [x]}}\n  t: {base: a, run: [ls]}"
    name, allowed, settings = reach(host, text)
    assert (name, allowed) == ("policy of template a", ["a.example.com", "npm.example.com:443"])
    assert settings
    assert reach(host, f"{text.replace('run: [ls]', 'policy: {}')}")[:2] == ("policy of template t", [])


def test_a_build_is_held_to_what_is_enforced(host):
    host.policy_files(machine="policies: {corp: {enforce: true, mode: allow}}")
    state = host.state(
        "templates: {t: {policy: own}}\npolicies: {own: {}, team: {enforce: true, mode: allow}}\n"
        "sandboxes: {web: {template: t}}"
    )
    (found,) = state.templates
    assert [layer.name for layer in found.policy.layers] == ["machine policy corp", "policy team", "policy own"]
    assert [layer.enforced for layer in found.policy.layers] == [True, True, False]


def test_a_rule_of_a_manager_says_where_it_comes_from(host):
    with_presets(host)
    (rule,) = template(host, "  t: {base: 'oci:alpine', packages: {npm: [a]}}").policy.own.allow
    assert rule == Rule("npm.example.com:443", origin="preset npm")
    assert rule.place == "sandbox.yaml:2:38"


def test_a_manager_that_this_host_has_no_registry_for_is_an_error_where_it_is_used(host):
    host.presets["npm"] = PresetFacts()
    _, problems = host.resolve(f"templates: {{t: {{packages: {{npm: [a]}}}}}}\n{SANDBOXES}")
    assert [(problem.summary, str(problem.span)) for problem in problems] == [
        ("No registry", f"{BASE}/sandbox.yaml:1:28")
    ]
    own = f"templates: {{t: {{policy: {{}}, packages: {{npm: [a]}}}}}}\n{SANDBOXES}"
    assert host.summaries(own) == []


def test_the_defaults_policy_and_the_users_are_for_sandboxes_only(host):
    host.policy_files(user="default_policy: mine\npolicies: {mine: {allow: [a.example]}}")
    state = host.state("defaults: {policy: {allow: [b.example]}}\ntemplates: {t: {run: [ls]}}\nsandboxes: {web: {}}")
    assert [item.policy.own.allow for item in state.templates] == [(), ()]


def test_the_tests_of_a_templates_own_policy_are_run_like_all_others(host):
    file, inputs = host.inputs(
        "templates: {t: {policy: {allow: [a.example.com], tests: {allow: ['https://b.example.com/']}}}}\nsandboxes: {}"
    )
    (test,) = policy_tests(file, inputs)
    assert test.name == "policy of template t"
    assert [problem.summary for problem in run_policy_tests((test,), inputs.today)] == ["Policy test failed"]


# --- the rest of a wrong file ------------------------------------------------------------------------------------


def test_the_rest_of_a_wrong_file_resolves_to_nothing_instead_of_crashing(host):
    from sandboxfile.language.validate import load
    from sandboxfile.resolve.templates import resolve_template

    file, _, problems = load("templates: {a: {base: b}, b: {base: a}}\nsandboxes: {web: {template: gone}}", "f")
    assert problems
    assert file is not None
    _, inputs = host.inputs("sandboxes: {}")
    assert resolve_template(file, "a", inputs, []) is None
    assert resolve_template(file, "gone", inputs, []) is None
