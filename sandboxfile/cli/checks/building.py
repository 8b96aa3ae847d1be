"""What only some templates need: programs for container images, keys of other distributions.

Without them doctor warns, unless a template of the file here needs them. Docker inside a sandbox needs nothing here.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

from sandboxfile.cli.checks.check import Check, Verdict, check
from sandboxfile.host.builders import CHOICE, Builder, find_builder
from sandboxfile.model.desired import DesiredState

UBUNTU_KEYRING = Path("/usr/share/keyrings/ubuntu-archive-keyring.gpg")


def check_building(desired: DesiredState | None, environ: Mapping[str, str]) -> list[Check]:
    """Programs for templates that do not begin with Debian packages."""
    templates = desired.templates if desired is not None else ()
    kinds = {template.recipe.origin.kind for template in templates}
    found = [
        check_skopeo("oci" in kinds, environ),
        check_builder(find_builder(environ), bool(kinds & {"dockerfile", "local"}), environ),
    ]
    return found + ([check_ubuntu()] if "ubuntu" in kinds else [])


def check_skopeo(needed: bool, environ: Mapping[str, str]) -> Check:
    """What talks to registries."""
    path = shutil.which("skopeo", path=environ.get("PATH"))
    if path:
        return Check("skopeo", "ok", path)
    return Check("skopeo", _verdict(needed), "not installed; `base: oci:IMAGE` needs it", "apt install skopeo")


def check_builder(builder: Builder | None, needed: bool, environ: Mapping[str, str]) -> Check:
    """Which program builds Dockerfiles: the first that works here."""
    if builder is not None:
        return Check("Dockerfile builder", "ok", f"{builder.name} {builder.version}, {builder.path}")
    if wanted := environ.get(CHOICE):
        detail, fix = f"{wanted} does not work here, and {CHOICE} asks for it", f"unset {CHOICE}, or install {wanted}"
    else:
        detail, fix = "neither buildah, podman nor docker works here; `build:` needs one", "apt install buildah"
    return Check("Dockerfile builder", _verdict(needed), detail, fix)


def check_ubuntu(keyring: Path = UBUNTU_KEYRING) -> Check:
    """The keys that Ubuntu's packages are signed with. Looked for only when a template wants them."""
    found = keyring.exists()
    detail = str(keyring) if found else f"no {keyring}; `base: ubuntu:SUITE` needs it"
    return check("Ubuntu keyring", found, detail, "apt install ubuntu-keyring")


def _verdict(needed: bool) -> Verdict:
    return "missing" if needed else "warning"
