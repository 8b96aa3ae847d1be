"""A disk that was copied from another sandbox's (`sbx fork`) becomes a machine of its own at its first start."""

from typing import TYPE_CHECKING

from sandboxfile.errors import GuestError
from sandboxfile.host.layout import SandboxPaths

if TYPE_CHECKING:
    from sandboxfile.guest.channel import Guest

# Its host name, keys and certificates are given to it anew at each start; only this is on the disk.
_RENEW = """
export PATH=/run/sbx/bin
new=$(sed 's/-//g' /proc/sys/kernel/random/uuid)
for file in /etc/machine-id /var/lib/dbus/machine-id; do
  [ ! -f "$file" ] || [ -h "$file" ] || { rm -f "$file" && echo "$new" >"$file" && chmod 0444 "$file"; } || exit 1
done
sync -f /etc
"""


async def renew_identity(guest: "Guest", paths: SandboxPaths) -> None:
    """Give it a machine id of its own, before anything of the user's runs. Raises GuestError."""
    if not paths.copied.exists():
        return
    ended = await guest.run(("/run/sbx/bin/sh", "-c", _RENEW), timeout=60)
    if ended.code != 0:
        raise GuestError("the copied machine could not be given an identity of its own", output=ended.output)
    paths.copied.unlink(missing_ok=True)
