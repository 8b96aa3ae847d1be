"""A bare clone of a repository that somebody else writes: objects of one ref, of which nothing ever runs.

Every git is started with hooks, filters, submodules, lazy fetching and foreign transports off, with none of our
environment's GIT_ variables, without a terminal to ask on, and with bounds on time and size. There is no work tree:
`host.git_export` writes the files of a commit itself. The user's own git configuration counts, for credentials, and
for whose signatures are good.
"""

import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

import anyio

from sandboxfile.errors import HostError, SandboxfileError
from sandboxfile.host.git_entries import SIZE_LIMIT, Entry, blob_id, entries_of
from sandboxfile.host.process import run

FETCH_PATIENCE = 300.0  # seconds
_PATIENCE = 120.0
_SAID_LIMIT = 1 << 16  # bytes
FETCHED, BEGUN, LAID, LAYING = (f"refs/reconcile/{name}" for name in ("fetched", "begun", "laid", "laying"))

_PROTOCOLS = ("file", "https", "ssh")
_ADDRESS = re.compile(  # a URL, a path, or as ssh has it
    r"(https|ssh|file)://[^\s/]*/\S+|(\.{0,2}/|~/)\S*|\.\.?|[A-Za-z0-9._][A-Za-z0-9._-]*@[A-Za-z0-9.-]+:[^\s:]\S*",
    re.ASCII,
)
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SETTINGS = (
    *("protocol.allow=never", *(f"protocol.{name}.allow=always" for name in _PROTOCOLS)),
    *("core.hooksPath=/dev/null", "core.fsmonitor=false", "core.attributesFile=/dev/null"),
    *("fetch.fsckObjects=true", "fetch.recurseSubmodules=false", "submodule.recurse=false"),
    *("gc.auto=0", "maintenance.auto=false", "credential.interactive=false", "advice.detachedHead=false"),
)
_KEPT = ("HOME", "PATH", "USER", "LOGNAME", "SSH_AUTH_SOCK", "GNUPGHOME", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
_KEPT_PREFIXES = ("XDG_",)
_PROXIES = ("https_proxy", "http_proxy", "no_proxy", "all_proxy")


def checked_address(text: str) -> str:
    """A repository that may be asked, paths made absolute. Raises SandboxfileError."""
    hint = "https://HOST/PATH, ssh://HOST/PATH, USER@HOST:PATH, file:///PATH, or a directory of this host"
    if _has_secret(text):
        raise SandboxfileError(
            "neither a password nor a token belongs into the address of a repository: others can read it",
            hint="git's credential helpers keep it (git help credentials)",
        )
    if _ADDRESS.fullmatch(text) is None or not text.isprintable():
        raise SandboxfileError(f"{text!r} is no repository that is fetched from", hint=hint)
    if _is_option(text):
        raise SandboxfileError(f"{text!r} begins a user or a host with -, which ssh takes for an option", hint=hint)
    if "://" in text or not text.startswith(("/", ".", "~")):
        return text
    return str(Path(os.path.abspath(Path(text).expanduser())))  # noqa: PTH100 - links stay as they are


def _has_secret(address: str) -> bool:
    """Whether it may hold one: over HTTPS each user is one that is let in by a token, or is the token itself."""
    scheme, separator, rest = address.partition("://")
    if not separator or scheme == "file":
        return False
    user = unquote(re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[0])
    if scheme == "ssh":
        return ":" in user
    return bool(user or re.search(r"[?#]", rest))


def _is_option(address: str) -> bool:
    """Whether a program that is given its user or its host would see an option; git resolves %2D in URLs."""
    scheme, separator, rest = address.partition("://")
    if not separator and address.startswith(("/", ".", "~")):
        return False
    where = unquote(rest.partition("/")[0]) if separator else scheme.partition(":")[0]
    return any(part.lstrip("[").startswith("-") for part in where.split("@"))


def checked_ref(text: str) -> str:
    """A branch, a tag, a full name of a ref, or a commit. Raises SandboxfileError."""
    if _REF.fullmatch(text) is None or ".." in text or text.endswith((".lock", "/", ".")) or "//" in text:
        raise SandboxfileError(f"{text!r} is no name of a branch or tag", hint="e.g. main, or refs/tags/v1")
    return text


def git_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What git gets of our environment, and what it must not do."""
    kept = {
        name: value
        for name, value in environ.items()
        if name in _KEPT or name.startswith(_KEPT_PREFIXES) or name.lower() in _PROXIES
    }
    return kept | {
        "LC_ALL": "C.UTF-8",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": ":".join(_PROTOCOLS),
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_OPTIONAL_LOCKS": "0",
    }


@dataclass(frozen=True, slots=True)
class Clone:
    """The one at `directory`. All but `fetch` and `verify` block, shortly. Raises HostError."""

    directory: Path

    def prepare(self) -> None:
        """Make it, or take over what a killed reconciler left: with the reconciler's lock held nobody is at work."""
        if not (self.directory / "HEAD").exists():
            self._plain("init", "--quiet", "--bare", "--template=", str(self.directory), at=False)
        for left in (*self.directory.glob("*.lock"), *self.directory.glob("refs/**/*.lock")):
            left.unlink(missing_ok=True)
        for left in (*self.directory.glob("objects/pack/tmp_*"), *self.directory.glob("objects/pack/*.keep")):
            left.unlink(missing_ok=True)

    async def fetch(self, address: str, ref: str) -> str:
        """The commit that the ref is at there, fetched: it alone, without what came before."""
        what = f"fetch {ref} of {address}"
        options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--depth=1", "--force")
        argv = self._argv("fetch", *options, "--", address, f"+{ref}:{FETCHED}")
        try:
            with anyio.fail_after(FETCH_PATIENCE):
                await run(argv, what=what, env=git_environment(os.environ), cwd=self.directory, program="git")
        except TimeoutError as exc:
            raise HostError(f"cannot {what}: no answer within {FETCH_PATIENCE:g} s", command=argv) from exc
        commit = self.commit_of(FETCHED)
        if commit is None:
            raise HostError(f"cannot {what}: that is no commit")
        return commit

    async def verify(self, commit: str) -> None:
        """Whether somebody signed it whose signature is good by the user's own configuration."""
        argv = self._argv("verify-commit", commit)
        with anyio.fail_after(_PATIENCE):
            what, environment = "verify the signature", git_environment(os.environ)
            await run(argv, what=what, env=environment, cwd=self.directory, program="git")

    def commit_of(self, ref: str) -> str | None:
        """The commit that a ref is at, None when there is none."""
        done = self._run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
        found = done.stdout.decode(errors="replace").strip()
        return found if done.returncode == 0 and _COMMIT.fullmatch(found) else None

    def remember(self, ref: str, commit: str) -> None:
        """Put one of our refs at a commit, which keeps it."""
        self._plain("update-ref", "--no-deref", ref, commit)

    def tidy(self) -> None:
        """Throw away what no ref of ours is at."""
        self._plain("repack", "-a", "-d", "--quiet")
        self._plain("prune", "--expire=now")
        self._plain("pack-refs", "--all", "--prune")

    def entries(self, commit: str) -> tuple[Entry, ...]:
        """The files of a commit, by path. Submodules are left out. Raises HostError when there is too much."""
        argv = self._argv("ls-tree", "-r", "-t", "-z", "-l", "--full-tree", commit)
        with tempfile.TemporaryFile() as said:
            with self._talking(argv, stdin=subprocess.DEVNULL, stderr=said) as process:
                timer = threading.Timer(_PATIENCE, process.kill)
                timer.start()
                try:
                    found = tuple(entries_of(process.stdout, commit))
                finally:
                    timer.cancel()
                code = process.wait()
            if code != 0:
                said.seek(0)
                output = said.read(_SAID_LIMIT).decode(errors="replace")
                raise HostError("git ls-tree failed", command=argv, output=output)
        return found

    @contextmanager
    def contents(self) -> Iterator["Contents"]:
        """For reading what is in files, one after the other."""
        argv = self._argv("cat-file", "--batch")
        with self._talking(argv, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            yield Contents(process.stdin, process.stdout)

    @contextmanager
    def _talking(self, argv: list[str], *, stdin: int, stderr: int | IO[bytes]) -> Iterator[Any]:
        """A git that says much: it is listened to while it runs, and ends when nobody does any more."""
        environment, out = git_environment(os.environ), subprocess.PIPE
        with subprocess.Popen(
            argv, stdin=stdin, stdout=out, stderr=stderr, env=environment, cwd=self.directory
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def _argv(self, *words: str, at: bool = True) -> list[str]:
        where = [f"--git-dir={self.directory}"] if at else []
        settings = [word for setting in _SETTINGS for word in ("-c", setting)]
        bounds = ["prlimit", f"--fsize={2 * SIZE_LIMIT}", "--", "setpriv", "--pdeathsig", "KILL", "--"]
        return [*bounds, "git", "--no-pager", *settings, *where, *words]

    def _run(self, *words: str, at: bool = True) -> subprocess.CompletedProcess[bytes]:
        argv = self._argv(*words, at=at)
        try:
            return subprocess.run(
                argv,
                env=git_environment(os.environ),
                cwd=self.directory.parent,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_PATIENCE,
                check=False,
                start_new_session=True,
            )
        except FileNotFoundError as exc:
            raise HostError(f"the program {argv[0]} is not installed", hint="run `sbx doctor`") from exc
        except subprocess.TimeoutExpired as exc:
            raise HostError(f"git {words[0]} takes longer than {_PATIENCE:g} s", command=argv) from exc

    def _plain(self, *words: str, at: bool = True) -> bytes:
        done = self._run(*words, at=at)
        if done.returncode != 0:
            output = done.stderr.decode(errors="replace")
            raise HostError(f"git {words[0]} failed", command=self._argv(*words, at=at), output=output)
        return done.stdout


@dataclass(frozen=True, slots=True)
class Contents:
    """A running `git cat-file --batch`."""

    questions: IO[bytes]
    answers: IO[bytes]

    def of(self, entry: Entry) -> bytes:
        """What is in a file. Raises HostError when it is not what its id says."""
        with suppress(BrokenPipeError):
            self.questions.write(f"{entry.id}\n".encode())
            self.questions.flush()
        header = self.answers.readline().split()
        told = len(header) == 3 and header[2] == b"%d" % entry.size
        data = self.answers.read(entry.size + 1)[:-1] if told else b""
        if not told or blob_id(data, len(entry.id)) != entry.id:
            raise HostError(f"`{entry.path}` of the commit cannot be read")
        return data
