"""What a program in a sandbox could do, with the variables that it would have; and policies in a few words."""

import os
import socket
import ssl
import subprocess
from contextlib import contextmanager

from sandboxfile.model.policy import Layer, Policy, Rule


def policy(*allow, block=(), bypass=(), mode="deny", inspect="full", credentials=()):
    rules = tuple(rule if isinstance(rule, Rule) else Rule(rule) for rule in allow)
    return Policy(
        (
            Layer(
                "policy web",
                mode,
                rules,
                tuple(map(Rule, block)),
                tuple(map(Rule, bypass)),
                inspect,
                place="f.yaml:1:1",
            ),
        ),
        credentials=tuple(credentials),
    )


class Inside:
    """What a program in a sandbox could do, with the variables that it would have."""

    def __init__(self, running, registered, origin, home):
        self.running, self.registered, self.origin, self.home = running, registered, origin, home

    @property
    def environment(self):
        proxy = f"http://127.0.0.1:{self.registered.port}"
        names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
        bundles = ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "GIT_SSL_CAINFO")
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "GIT_CONFIG_SYSTEM": "/dev/null",
            "PIP_CONFIG_FILE": "/dev/null",
            "npm_config_globalconfig": "/dev/null",  # this host's own may name another bundle
            **dict.fromkeys(names, proxy),
            **dict.fromkeys((*bundles, "NODE_EXTRA_CA_CERTS"), str(self.registered.trusted)),
        }

    def run(self, *command, code=0, cwd=None):
        done = subprocess.run(command, env=self.environment, cwd=cwd or self.home, capture_output=True, timeout=120)
        assert done.returncode == code, (done, self.running.said())
        return done.stdout

    def curl(self, *arguments, code=0):
        return self.run("curl", "-q", "-sS", "--max-time", "60", *arguments, code=code)

    @contextmanager
    def tunnel(self, target, name=None, protocols=("http/1.1",)):
        """A connection through CONNECT; with `name`, TLS to that name within."""
        with socket.create_connection(("127.0.0.1", self.registered.port), 30) as sock:
            sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
            head = b""
            while not head.endswith(b"\r\n\r\n") and (got := sock.recv(1)):
                head += got
            assert head.startswith(b"HTTP/1.1 200"), head
            if name is None:
                yield sock
                return
            context = ssl.create_default_context(cafile=str(self.registered.trusted))
            context.set_alpn_protocols(list(protocols))
            with context.wrap_socket(sock, server_hostname=name) as stream:
                yield stream
