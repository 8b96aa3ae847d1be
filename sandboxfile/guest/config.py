"""What a booting guest is told, as shell assignments that `rootfs/init` reads. Pure: makes bytes.

QEMU passes them as the fw_cfg file `opt/sbx/config`. Only root inside can read it there, and the host key in it is
the guest's own.
"""

import hashlib
import re
import shlex
from dataclasses import dataclass

from sandboxfile.guest.network import (
    BUNDLE,
    CERTIFICATE,
    GATEWAY_ADDRESS,
    GATEWAY_NAME,
    GUEST_ADDRESS,
    NO_PROXY,
    PROXY,
    network_variables,
)

PORTS = ("sbx.0", "sbx.1", "sbx.2", "sbx.3")  # virtio-serial ports; each carries one SSH connection at a time
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MARK = "# sandboxfile authority"  # begins the first line of our certificate, wherever it is written

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----\n([A-Za-z0-9+/=]{1,76}\n)+-----END CERTIFICATE-----\Z")
_HASH = re.compile(r"[0-9a-f]{8}\Z")
_PLAIN = re.compile(r"[^\"'\\#$`\s]*\Z")  # what /etc/environment, which knows no quoting, can hold


@dataclass(frozen=True, slots=True)
class GuestConfig:
    """`host_key`: an OpenSSH private key's text. `client_key`: one authorized_keys line. `path`: PATH of sessions.

    `authority` is the PEM certificate that everything inside is to trust, `authority_hash` OpenSSL's hash of its
    subject (8 hexadecimal digits). `settings` are variables for every process, as in `network_variables`. `docker`:
    the template's Docker daemon is kept running.
    """

    hostname: str
    host_key: str
    client_key: str
    authority: str
    authority_hash: str
    settings: tuple[tuple[str, str], ...] = ()
    path: str = PATH
    docker: bool = False


def encode(config: GuestConfig) -> bytes:
    """The fw_cfg file.

    Raises ValueError for what would become a second line of sshd's configuration or keys, or a second certificate.
    """
    for name, value in (
        ("hostname", config.hostname),
        ("client_key", config.client_key.strip()),
        ("path", config.path),
    ):
        if not value or any(ord(character) < 32 for character in value):
            raise ValueError(f"{name} is empty or has control characters")
    if '"' in config.path or "\\" in config.path:
        raise ValueError("sshd_config cannot quote this path")
    values = {
        "sbx_hostname": config.hostname,
        "sbx_host_key": config.host_key.strip(),
        "sbx_client_key": config.client_key.strip(),
        "sbx_path": config.path,
        "sbx_ports": " ".join(PORTS),
        "sbx_docker": "yes" if config.docker else "",
        **_network(),
        **_authority(config),
        **_variables(config.settings),
    }
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items()).encode()


def _network() -> dict[str, str]:
    return {
        "sbx_address": GUEST_ADDRESS,
        "sbx_gateway": GATEWAY_ADDRESS,
        "sbx_gateway_name": GATEWAY_NAME,
        "sbx_proxy": PROXY,
        "sbx_no_proxy": NO_PROXY,
    }


def _authority(config: GuestConfig) -> dict[str, str]:
    """The certificate below a line that names it, so that the guest knows at a glance which one a file holds."""
    certificate = config.authority.strip()
    if not _PEM.match(certificate) or not _HASH.match(config.authority_hash):
        raise ValueError("the authority is no certificate, or its hash no hash")
    first = f"{MARK} {config.authority_hash} {_digest(certificate)}"
    return {
        "sbx_authority_mark": first,
        "sbx_authority": f"{first}\n{certificate}",
        "sbx_authority_hash": config.authority_hash,
        "sbx_certificate": CERTIFICATE,
        "sbx_bundle": BUNDLE,
    }


def _variables(settings: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """As lines for /etc/environment, as lines for a login shell (what is set already stays), and the names alone."""
    variables = network_variables(settings)
    exports = (f'[ "${{{name}+set}}" ] || export {name}={shlex.quote(value)}' for name, value in variables)
    lines = "\n".join(f"{name}={value}" for name, value in variables if _PLAIN.match(value))
    return {
        "sbx_environment_mark": f"# begin of sandboxfile {_digest(lines)}",
        "sbx_environment": lines,
        "sbx_exports": "\n".join(exports),
        "sbx_names": " ".join(name for name, _ in variables),
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
