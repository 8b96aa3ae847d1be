"""What this host's npm, pip and apt are configured for, read from their own files below a root of our own."""

import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from sandboxfile.host.registries import preset_facts
from sandboxfile.planning.trusting import digest_of
from sandboxfile.resolve.inputs import PresetFacts

NPM = "usr/lib/node_modules/npm/node_modules/@npmcli/config/lib/definitions/definitions.js"
DEFINITIONS = """\
  'replace-registry-host': new Definition('replace-registry-host', {
    default: 'never',
  }),
  registry: new Definition('registry', {
    default: 'https://npm.example.com/',
    type: url,
  }),
"""
PIP = "usr/lib/python3/dist-packages/pip/_internal/models/index.py"
INDEXES = """\
PyPI = PackageIndex("https://pypi.example.com/", file_storage_domain="files.example.com")
TestPyPI = PackageIndex(
    "https://test.example.com/", file_storage_domain="test-files.example.com"
)
"""


class Machine:
    """A root directory, a home and an environment."""

    def __init__(self, root: Path) -> None:
        self.root, self.home = root / "root", root / "home"
        self.environ: dict[str, str] = {}

    def write(self, path: str, text: str) -> None:
        target = self.home / path[2:] if path.startswith("~/") else self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def facts(self, preset: str) -> PresetFacts:
        return replace(self._whole(preset), files=())

    def files(self, preset: str) -> dict[str, str]:
        """The digests of what says all this, by path."""
        return {file.path: file.digest for file in self._whole(preset).files}

    def _whole(self, preset: str) -> PresetFacts:
        return preset_facts([preset], self.home, self.environ, self.root, (self.root / "usr/venv",))[preset]

    def urls(self, preset: str) -> list[str]:
        return [registry.url for registry in self.facts(preset).registries]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("preset", ["npm", "pip", "apt"])
def test_without_client_and_configuration_nothing_is_found(machine: Machine, preset: str) -> None:
    assert machine.facts(preset) == PresetFacts()


def test_only_the_presets_that_are_asked_for_are_looked_at(machine: Machine) -> None:
    assert preset_facts([], machine.home, {}, machine.root) == {}


# --- npm ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (NPM, DEFINITIONS),
        ("usr/share/nodejs/@npmcli/config/lib/definitions/definitions.js", DEFINITIONS),
        (
            "usr/local/lib/node_modules/npm/lib/utils/config/definitions.js",
            "define('registry', {\n  default: `https://npm.example.com/`,\n",
        ),
        ("usr/share/npm/lib/config/defaults.js", "    registry: 'https://npm.example.com/',\n"),
    ],
)
def test_npms_own_registry_is_read_from_the_installed_client(machine: Machine, path: str, text: str) -> None:
    (machine.root / "usr/share/nodejs/npm").mkdir(parents=True)  # as Debian has it, beside @npmcli
    machine.write(path, text)
    facts = machine.facts("npm")
    assert facts.found
    assert [registry.url for registry in facts.registries] == ["https://npm.example.com/"]
    assert facts.settings == ()


def test_the_npm_on_path_is_the_one_that_counts(machine: Machine) -> None:
    machine.write(NPM, DEFINITIONS)
    machine.write("opt/node/lib/node_modules/npm/bin/npm-cli.js", "")
    machine.write(
        "opt/node/lib/node_modules/npm/node_modules/@npmcli/config/lib/definitions/definitions.js",
        DEFINITIONS.replace("npm.example.com", "other.example.com"),
    )
    machine.write("opt/node/bin/node", "")
    machine.write("opt/node/etc/npmrc", "@acme:registry=https://acme.example.com/npm/\n")
    command = machine.root / "opt/node/bin/npm"
    command.symlink_to("../lib/node_modules/npm/bin/npm-cli.js")
    for program in (machine.root / "opt/node/bin/node", command.resolve()):
        program.chmod(0o755)
    machine.environ["PATH"] = str(command.parent)
    assert machine.urls("npm") == ["https://other.example.com/", "https://acme.example.com/npm/"]


def test_npm_settings_go_over_each_other_as_npm_has_them(machine: Machine) -> None:
    machine.write(NPM, DEFINITIONS)
    machine.write("etc/npmrc", "registry=https://global.example.com/\n@a:registry=https://a.example.com/\n")
    assert machine.urls("npm") == ["https://global.example.com/", "https://a.example.com/"]
    machine.write(
        "~/.npmrc",
        '; comment\nregistry = "https://${HOST}/"\n# registry=https://no.example.com/\n//user.example.com/:_authToken=x\n'
        "[section]\nregistry=https://no.example.com/\n",
    )
    machine.environ["HOST"] = "user.example.com"
    assert machine.urls("npm") == ["https://user.example.com/", "https://a.example.com/"]
    machine.environ["NPM_CONFIG_REGISTRY"] = "http://env.example.com:4873"
    facts = machine.facts("npm")
    assert [registry.url for registry in facts.registries] == ["http://env.example.com:4873", "https://a.example.com/"]
    assert facts.settings == (("npm_config_registry", "http://env.example.com:4873"),)


def test_every_file_that_says_something_is_told_as_it_was_read(machine: Machine, tmp_path: Path) -> None:
    text = "registry=https://npm.example.com/\n"
    machine.write("~/.npmrc", text)
    assert machine.files("npm") == {f"{machine.home}/.npmrc": digest_of(text), f"{machine.root}/etc/npmrc": ""}
    given = {"NPM_CONFIG_USERCONFIG": f"{tmp_path}/userrc", "npm_config_globalconfig": f"{tmp_path}/globalrc"}
    machine.environ.update(given, PIP_CONFIG_FILE=f"{tmp_path}/pip.conf", VIRTUAL_ENV=f"{tmp_path}/venv")
    assert machine.files("npm") == dict.fromkeys(given.values(), "")
    machine.write("~/.config/pip/pip.conf", "[global\n")
    assert machine.files("pip") == {
        f"{machine.root}/etc/xdg/pip/pip.conf": "",
        f"{machine.root}/etc/pip.conf": "",
        f"{machine.home}/.pip/pip.conf": "",
        f"{machine.home}/.config/pip/pip.conf": digest_of("[global\n"),
        f"{tmp_path}/venv/pip.conf": "",
        f"{tmp_path}/pip.conf": "",
    }
    machine.write("etc/apt/sources.list", "deb http://apt.example.com/debian trixie main\n")
    assert list(machine.files("apt")) == [f"{machine.root}/etc/apt/sources.list"]


def test_a_relative_path_of_npms_file_is_told_whole(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.write("npmrc", "a=b")
    monkeypatch.chdir(machine.root)
    machine.environ["npm_config_userconfig"] = "npmrc"
    assert machine.files("npm")[f"{machine.root}/npmrc"] == digest_of("a=b")


def test_npms_own_registry_written_out_needs_no_setting(machine: Machine) -> None:
    machine.write(NPM, DEFINITIONS)
    machine.write("~/.npmrc", "registry=https://npm.example.com\n")
    assert machine.facts("npm").settings == ()


def test_configuration_without_a_client_is_enough(machine: Machine) -> None:
    machine.write("~/.npmrc", "registry=https://mirror.example.com/npm\n")
    facts = machine.facts("npm")
    assert facts.found
    assert facts.settings == (("npm_config_registry", "https://mirror.example.com/npm"),)


def test_credentials_stay_on_the_host(machine: Machine) -> None:
    machine.write("~/.npmrc", "registry=https://me:secret@mirror.example.com:8443/npm\n")
    facts = machine.facts("npm")
    (registry,) = facts.registries
    assert registry.url == "https://mirror.example.com:8443/npm"
    assert registry.stripped == str(machine.home / ".npmrc")
    assert "secret" not in repr(facts)


@pytest.mark.parametrize("url", ["https://[::1", "https://h:port/", "ftp://h/", "nonsense", "https://"])
def test_what_is_no_url_that_can_be_reached_is_left_out(machine: Machine, url: str) -> None:
    machine.write("~/.npmrc", f"registry={url}\n")
    facts = machine.facts("npm")
    assert (facts.found, facts.registries, facts.settings) == (True, (), ())


# --- pip ---------------------------------------------------------------------------------------------------------


def test_pips_own_index_and_where_its_files_are(machine: Machine) -> None:
    machine.write(PIP, INDEXES)
    assert machine.urls("pip") == ["https://pypi.example.com/simple", "https://files.example.com/"]
    assert machine.facts("pip").settings == ()


@pytest.mark.parametrize(
    "wheel",
    [
        "usr/share/python-wheels/pip-23.0.1-py3-none-any.whl",
        "usr/lib/python3.12/ensurepip/_bundled/pip-24.0-py3-none-any.whl",
    ],
)
def test_pips_defaults_are_found_in_wheels(machine: Machine, wheel: str) -> None:
    path = machine.root / wheel
    path.parent.mkdir(parents=True)
    path.with_name("pip-1-broken.whl").write_bytes(b"PK\x03\x04")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("pip/_internal/models/index.py", INDEXES)
    assert machine.urls("pip") == ["https://pypi.example.com/simple", "https://files.example.com/"]


def test_pip_settings_go_over_each_other_as_pip_has_them(machine: Machine) -> None:
    machine.write(PIP, INDEXES)
    machine.write("etc/pip.conf", "[global]\nindex_url = https://global.example.com/simple\n")
    assert machine.urls("pip") == ["https://global.example.com/simple"]
    machine.write(
        "~/.config/pip/pip.conf",
        "[install]\nindex-url = https://install.example.com/simple\n"
        "[global]\nextra-index-url =\n  https://one.example.com/simple\n  file:///srv/wheels\n  https://two.example.com\n",
    )
    assert machine.urls("pip") == [
        "https://install.example.com/simple",
        "https://one.example.com/simple",
        "https://two.example.com",
    ]
    machine.environ["PIP_INDEX_URL"] = "https://env.example.com/simple"
    assert machine.facts("pip").settings == (
        ("PIP_INDEX_URL", "https://env.example.com/simple"),
        ("PIP_EXTRA_INDEX_URL", "https://one.example.com/simple https://two.example.com"),
    )


def test_extra_indexes_come_besides_pips_own(machine: Machine) -> None:
    machine.write(PIP, INDEXES)
    machine.environ["PIP_EXTRA_INDEX_URL"] = "https://extra.example.com/simple file:///opt/wheels"
    facts = machine.facts("pip")
    assert machine.urls("pip") == [
        "https://pypi.example.com/simple",
        "https://files.example.com/",
        "https://extra.example.com/simple",
    ]
    assert facts.settings == (("PIP_EXTRA_INDEX_URL", "https://extra.example.com/simple"),)


def test_pips_own_index_written_out_needs_its_files_and_no_setting(machine: Machine) -> None:
    machine.write(PIP, INDEXES)
    machine.environ["PIP_INDEX_URL"] = "https://pypi.example.com/simple/"
    assert machine.urls("pip") == ["https://pypi.example.com/simple/", "https://files.example.com/"]
    assert machine.facts("pip").settings == ()


def test_an_index_of_directories_is_nothing_to_reach_and_no_error(machine: Machine) -> None:
    machine.write(PIP, INDEXES)
    machine.environ["PIP_INDEX_URL"] = "file:///opt/index"
    assert machine.facts("pip") == PresetFacts(found=True)
    machine.environ["PIP_EXTRA_INDEX_URL"] = "https://extra.example.com/simple"
    assert machine.facts("pip").settings == (("PIP_INDEX_URL", "https://extra.example.com/simple"),)


def test_a_pip_without_index_reaches_none(machine: Machine) -> None:
    machine.write(PIP, INDEXES)
    machine.environ["PIP_NO_INDEX"] = "1"
    assert machine.facts("pip") == PresetFacts(found=True)


def test_pips_configuration_file_variable(machine: Machine) -> None:
    machine.write(PIP, INDEXES)
    machine.write("etc/pip.conf", "[global]\nindex-url = https://global.example.com/simple\n")
    machine.write("given.conf", "[global]\nindex-url = https://given.example.com/simple\n")
    machine.environ["PIP_CONFIG_FILE"] = str(machine.root / "given.conf")
    assert machine.urls("pip") == ["https://given.example.com/simple"]
    machine.environ["PIP_CONFIG_FILE"] = "/dev/null"
    assert machine.urls("pip")[0] == "https://pypi.example.com/simple"


def test_a_malformed_pip_conf_says_nothing(machine: Machine) -> None:
    machine.write(PIP, INDEXES)
    machine.write("etc/pip.conf", "index-url = https://no.example.com\n")
    assert machine.urls("pip")[0] == "https://pypi.example.com/simple"


# --- apt ---------------------------------------------------------------------------------------------------------


def test_apts_mirrors_are_those_that_images_are_made_from(machine: Machine) -> None:
    machine.write(
        "etc/apt/sources.list",
        "deb http://mirror.example.com/debian bookworm main\n"
        "deb https://me:secret@security.example.com:8443/debian-security bookworm-security main\n"
        "deb https://tools.example.com/apt stable main\n",
    )
    facts = machine.facts("apt")
    assert [registry.url for registry in facts.registries] == [
        "http://mirror.example.com/debian",
        "https://security.example.com:8443/debian-security",
    ]
    assert [registry.stripped for registry in facts.registries] == ["", "apt"]
    machine.environ["SBX_DEBIAN_MIRROR"] = "http://other.example.com/debian"
    assert machine.urls("apt") == ["http://other.example.com/debian"]


def test_apts_mirrors_equal_the_images_own(machine: Machine) -> None:
    from sandboxfile.host.apt_sources import read_entries
    from sandboxfile.images.packages.sources import source_lines

    machine.write("etc/apt/sources.list", "deb http://mirror.example.com/debian bookworm main\n")
    lines, _ = source_lines(read_entries(machine.root / "etc/apt"), "trixie")
    assert sorted({line.split()[1] for line in lines}) == sorted(machine.urls("apt"))
