"""Which addresses are this host's own: those of its network devices, which no list of ranges can know beforehand.

What listens on all of them is as close to a sandbox as what listens on loopback, and is guarded in the same way.
"""

import errno
import socket

from sandboxfile.policy.patterns import Address


def is_own(address: Address) -> bool:
    """Whether an address belongs to this host now. When the kernel does not say, it does."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))  # only its own may be bound (but for net.ipv4.ip_nonlocal_bind)
    except OSError as exc:
        return exc.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL)
    return True
