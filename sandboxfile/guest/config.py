"""What a booting guest is told, as shell assignments that `rootfs/init` reads. Pure: makes bytes.

QEMU passes them as the fw_cfg file `opt/sbx/config`. Only root inside can read it there, and the host key in it is
the guest's own.
"""

import shlex
from dataclasses import dataclass

PORTS = ("sbx.0", "sbx.1", "sbx.2", "sbx.3")  # virtio-serial ports; each carries one SSH connection at a time
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class GuestConfig:
    """`host_key`: an OpenSSH private key's text. `client_key`: one authorized_keys line. `path`: PATH of sessions."""

    hostname: str
    host_key: str
    client_key: str
    path: str = PATH


def encode(config: GuestConfig) -> bytes:
    """The fw_cfg file. Raises ValueError for what would become a second line of sshd's configuration or keys."""
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
    }
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items()).encode()
