"""A bare clone of a repository that somebody else writes: objects of one ref, of which nothing ever runs.

Every git is started with hooks, filters, submodules, lazy fetching and foreign transports off, with none of our
environment's GIT_ variables, without a terminal to ask on, and with bounds on time and size. There is no work tree:
`host.git_export` writes the files of a commit itself. The user's own git configuration counts, for credentials, and
for whose signatures are good.
"""

import hashlib
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import anyio

from sandboxfile.errors import HostError, SandboxfileError
from sandboxfile.host.process import run

SIZE_LIMIT = 1 << 30  # bytes: of all files of a commit; twice that of what git writes into one file
ENTRY_LIMIT = 100_000
FETCH_PATIENCE = 300.0  # seconds
_PATIENCE = 120.0
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


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a commit. `kind`: what it is; `id` that of its content, `size` in bytes."""

    path: str
    kind: str  # "file", "program", "symlink"
    id: str
    size: int


def checked_address(text: str) -> str:
    """A repository that may be asked, paths made absolute. Raises SandboxfileError."""
    hint = "https://HOST/PATH, ssh://HOST/PATH, USER@HOST:PATH, file:///PATH, or a directory of this host"
    if _ADDRESS.fullmatch(text) is None or not text.isprintable():
        raise SandboxfileError(f"{text!r} is no repository that is fetched from", hint=hint)
    _, separator, rest = text.partition("://")
    if separator and ":" in rest.partition("/")[0].rpartition("@")[0]:
        raise SandboxfileError(
            "a password does not belong into the address of a repository: others can read it",
            hint="git's credential helpers keep it (git help credentials)",
        )
    if separator or not text.startswith(("/", ".", "~")):
        return text
    return str(Path(os.path.abspath(Path(text).expanduser())))  # noqa: PTH100 - links stay as they are


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
                await run(argv, what=what, env=git_environment(os.environ), cwd=self.directory)
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
            await run(argv, what="verify the signature", env=git_environment(os.environ), cwd=self.directory)

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
        text = self._plain("ls-tree", "-r", "-z", "-l", "--full-tree", commit)
        found = tuple(entry for line in text.split(b"\0") if line for entry in _entry(line))
        if len(found) > ENTRY_LIMIT or sum(entry.size for entry in found) > SIZE_LIMIT:
            limit = f"{ENTRY_LIMIT} files or {SIZE_LIMIT >> 30} GiB"
            raise HostError(f"the commit {commit[:12]} holds more than {limit}")
        return found

    @contextmanager
    def contents(self) -> Iterator["Contents"]:
        """For reading what is in files, one after the other."""
        argv = self._argv("cat-file", "--batch")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(argv, env=git_environment(os.environ), cwd=self.directory, **pipes) as process:  # type: ignore[call-overload]
            try:
                yield Contents(process.stdin, process.stdout)
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
        data = self.answers.read(int(header[2]) + 1)[:-1] if len(header) == 3 else b""
        if blob_id(data, len(entry.id)) != entry.id:
            raise HostError(f"`{entry.path}` of the commit cannot be read")
        return data


def blob_id(data: bytes, digits: int) -> str:
    """git's name for a content, of so many hexadecimal digits."""
    digest = hashlib.sha256() if digits == 64 else hashlib.sha1(usedforsecurity=False)
    digest.update(b"blob %d\0" % len(data))
    digest.update(data)
    return digest.hexdigest()


def _entry(line: bytes) -> Iterator[Entry]:
    head, _, name = line.partition(b"\t")
    mode, kind, id, size = head.decode("ascii").split()
    path = os.fsdecode(name)
    if any(part in ("", ".", "..") or part.lower() == ".git" for part in path.split("/")):
        raise HostError(f"the commit holds {path!r}, which is no path of a file")
    if kind == "blob":
        kinds = {"100755": "program", "120000": "symlink"}
        yield Entry(path, kinds.get(mode, "file"), id, int(size))
