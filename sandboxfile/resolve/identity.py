"""Who commits of a sandbox are by: the variables that git reads. Nothing unless the file says so."""

from collections.abc import Iterator, Mapping

from sandboxfile.diagnostics import Diagnostic, error
from sandboxfile.model.spec import GitSpec, SandboxFile
from sandboxfile.model.spec_agents import OF_THE_HOST
from sandboxfile.resolve.chains import given
from sandboxfile.resolve.inputs import ResolveInputs


def identity_variables(written: str | GitSpec, inputs: ResolveInputs) -> Mapping[str, str]:
    """What `git` of a sandbox comes to, beneath its own variables."""
    identity = (written.name, written.email) if isinstance(written, GitSpec) else None
    if written == OF_THE_HOST:
        identity = inputs.git_identity
    if identity is None:
        return {}
    name, email = identity
    return {
        "GIT_AUTHOR_NAME": name,
        "GIT_AUTHOR_EMAIL": email,
        "GIT_COMMITTER_NAME": name,
        "GIT_COMMITTER_EMAIL": email,
    }


def check_identity(file: SandboxFile, name: str, inputs: ResolveInputs) -> Iterator[Diagnostic]:
    """A sandbox that is to have the identity of a host that has none."""
    sandbox = file.sandboxes[name]
    if given("git", sandbox, file.defaults).git == OF_THE_HOST and inputs.git_identity is None:
        path = ("sandboxes", name, "git") if "git" in sandbox.model_fields_set else ("defaults", "git")
        detail = "Git on this host does not know whose commits they are: user.name or user.email is not set."
        hint = "git config --global user.name NAME (and user.email), or write {name: NAME, email: ADDRESS}"
        yield error("No git identity", detail, file.span(*path), hint)
