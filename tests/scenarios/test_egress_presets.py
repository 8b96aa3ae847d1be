"""The registries that this host's own clients are configured for, through presets, for real; and nothing else."""

import pytest

from .roots import CLIENTS

pytestmark = pytest.mark.vm

FILE = (
    f"templates: {{clients: {CLIENTS}}}\n"
    + """\
sandboxes:
  box:
    template: clients
    workspaces: [.]
    policy:
      allow: [{preset: npm}, {preset: pip}, {preset: apt}]
      tests: {deny: ["https://example.com/"]}
"""
)


def test_small_packages_come_through_presets_and_everything_else_is_denied(sbx):
    sbx.write(FILE)
    sbx("up", "--yes")

    def inside(line, code=0):
        return sbx("exec", "box", "sh", "-ec", line, code=code, timeout=400).stdout

    inside("mkdir -p /tmp/n; cd /tmp/n; npm install --silent --no-audit --no-fund is-odd")
    assert inside("cd /tmp/n; node -p 'require(\"is-odd\")(3)'").strip() == "true"
    inside("pip install -q --break-system-packages --disable-pip-version-check six==1.16.0")
    assert inside("python3 -c 'import six; print(six.__version__)'").strip() == "1.16.0"
    inside("sudo apt-get -qq update; sudo apt-get install -y -qq --no-install-recommends hello >/dev/null")
    assert "Hello" in inside("hello")
    assert "sbx policy explain box https://example.com/" in inside("curl -sS https://example.com/")
    assert sbx("exec", "box", "env", "-u", "https_proxy", "-u", "HTTPS_PROXY", "curl", "-sS", "https://example.com/",
               any_code=True).code == 6  # fmt: skip
    sbx("down", "--yes")
