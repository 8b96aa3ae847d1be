"""A git repository over smart HTTP, by git's own CGI program. Its hooks and its owner's configuration do not count."""

import os
import subprocess
from pathlib import Path

import anyio

from .messages import Incoming, Response

_BRANCH = "main"
_CLEAN = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "PATH": os.environ.get("PATH", "")}
_WHO = {f"GIT_{role}_{part}": "origin@example.com" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}


class Repository:
    """Has one commit, with the file README.md. Anyone may push. `head` is the commit of its only branch."""

    name = "sample.git"

    def __init__(self, place: Path) -> None:
        self._root = place
        self.path = place / self.name
        _git("init", "--quiet", "--bare", f"--initial-branch={_BRANCH}", str(self.path))
        _git("-C", str(self.path), "config", "http.receivepack", "true")
        blob = _git("-C", str(self.path), "hash-object", "-w", "--stdin", said="# A sample\n")
        tree = _git("-C", str(self.path), "mktree", said=f"100644 blob {blob}\tREADME.md\n")
        commit = _git("-C", str(self.path), "commit-tree", "-m", "A sample", tree)
        _git("-C", str(self.path), "update-ref", f"refs/heads/{_BRANCH}", commit)

    @property
    def head(self) -> str:
        return _git("-C", str(self.path), "rev-parse", f"refs/heads/{_BRANCH}")

    async def answer(self, incoming: Incoming, below: str) -> Response:
        """Run `git http-backend` (git-http-backend(1), RFC 3875) for one request."""
        body = b"".join([data async for data in incoming.body])
        environment = {
            **_CLEAN,
            "GIT_PROJECT_ROOT": str(self._root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": f"/{self.name}/{below}",
            "REQUEST_METHOD": incoming.seen.method,
            "QUERY_STRING": incoming.raw_query,
            "CONTENT_TYPE": incoming.header("content-type"),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": incoming.header("content-encoding"),
            "GIT_PROTOCOL": incoming.header("git-protocol"),
            "REMOTE_USER": "anyone",
        }
        done = await anyio.run_process(["git", "http-backend"], input=body, env=environment, stderr=None)
        return _cgi_response(done.stdout)


def _cgi_response(output: bytes) -> Response:
    head, _, body = output.partition(b"\r\n\r\n")
    headers = [tuple(line.split(": ", 1)) for line in head.decode().split("\r\n")]
    status = next((value for name, value in headers if name == "Status"), "200").split()[0]
    return Response(int(status), [(name, value) for name, value in headers if name != "Status"], body)


def _git(*arguments: str, said: str = "") -> str:
    done = subprocess.run(
        ["git", *arguments], input=said, env=_CLEAN | _WHO, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()
