"""The network as a guest knows it: addresses, and the variables that tell programs of proxy and authority. Pure.

None of these is what holds a program back: whatever ignores them meets the same policy on the way out. They are there
so that programs trust the sandbox's authority, and give the proxy the names that they mean.
"""

import re
from collections.abc import Iterable

GUEST_ADDRESS, GATEWAY_ADDRESS = "10.0.2.15", "10.0.2.2"
GATEWAY_NAME = "host.docker.internal"
PROXY = f"http://{GATEWAY_NAME}:3128"
# Not the gateway's name: what listens on the host is reached through the proxy as well, where a rule allows it.
NO_PROXY = "localhost,127.0.0.1,::1"

BUNDLE = "/etc/ssl/certs/ca-certificates.crt"  # the template's authorities, and ours
CERTIFICATE = "/usr/local/share/ca-certificates/sandboxfile.crt"  # ours alone

_BUNDLE_VARIABLES = (
    *("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "GIT_SSL_CAINFO"),
    *("CARGO_HTTP_CAINFO", "AWS_CA_BUNDLE", "DENO_CERT"),
)
# No ALL_PROXY: by it clients send protocols other than HTTP to a proxy that speaks HTTP, or take it for SOCKS.
_PROXY_VARIABLES = {"http_proxy": PROXY, "https_proxy": PROXY, "no_proxy": NO_PROXY}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def network_variables(settings: Iterable[tuple[str, str]] = ()) -> tuple[tuple[str, str], ...]:
    """Variables for every process inside; `settings` (of presets) come last and win.

    Raises ValueError for a setting that no environment file could hold.
    """
    variables = dict.fromkeys(_BUNDLE_VARIABLES, BUNDLE)
    variables["NODE_EXTRA_CA_CERTS"] = CERTIFICATE  # added to those that Node brings along
    for name, value in _PROXY_VARIABLES.items():  # some programs read one spelling, some the other
        variables |= {name: value, name.upper(): value}
    variables["NODE_USE_ENV_PROXY"] = "1"
    for name, value in settings:
        if not _NAME.match(name) or any(ord(character) < 32 or ord(character) == 127 for character in value):
            raise ValueError(f"{name!r} cannot be a variable inside")
        variables[name] = value
    return tuple(variables.items())


def environment_beneath(
    own: Iterable[tuple[str, str]], settings: Iterable[tuple[str, str]] = ()
) -> tuple[tuple[str, str], ...]:
    """The network's variables that remain beneath a sandbox's own, and then its own.

    Its own also replaces ours in the other case: who sets NO_PROXY does not mean half of all programs.
    """
    own = tuple(own)
    taken = {name.lower() for name, _ in own}
    return (*((name, value) for name, value in network_variables(settings) if name.lower() not in taken), *own)
