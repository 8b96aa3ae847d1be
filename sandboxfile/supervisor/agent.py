"""An agent inside before it starts: its settings are there, and so is its binary.

The settings are written as the agent's user and where there are none yet: what somebody made of them stays.
Never through a link or a mount that leads to a workspace: an agent on the host may read the same file, and what makes
one run unattended in a sandbox must not make that one so.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from sandboxfile.errors import GuestError
from sandboxfile.model.agent import Agent, Service
from sandboxfile.model.desired import NO_AGENT, DesiredSandbox
from sandboxfile.supervisor.executing import Variables, environment

if TYPE_CHECKING:  # it loads asyncssh, which can wait until the kernel boots
    from sandboxfile.guest.channel import Guest

_NO_BINARY = 3
_WORD = re.compile(r"\{(workdir_json|workdir|placeholder)\}")

# prepare BINARY [MODE CONTENT PATH]..., the paths relative to $HOME. A file appears whole or not at all: an agent may
# be looking for it. 65735546 is FUSE: a workspace.
_PREPARE = """\
command -v "$1" >/dev/null || exit 3
PATH=/run/sbx/bin
umask 077
cd -- "$HOME" || exit 1
shift
while [ $# -gt 2 ]; do
  mode=$1 content=$2 path=$3
  shift 3
  if [ -e "./$path" ] || [ -L "./$path" ]; then continue; fi
  directory=$(dirname "./$path")
  there=$directory
  while [ ! -d "$there" ]; do there=$(dirname "$there"); done
  type=$(stat -f -c %t "$there") || exit 1
  if [ "$type" = 65735546 ]; then continue; fi
  mkdir -p "$directory" || exit 1
  new=$(mktemp "$directory/.sbx-XXXXXX") || exit 1
  printf %s "$content" >"$new" && chmod "$mode" "$new" || { rm -f "$new"; exit 1; }
  ln "$new" "./$path" 2>/dev/null || [ -e "./$path" ] || { rm -f "$new"; exit 1; }
  rm -f "$new"
done
"""


async def prepare_agent(guest: "Guest", spec: DesiredSandbox, image: Variables = (), more: Variables = ()) -> None:
    """Place the agent's settings and find its binary, in one command. `more` variables are those it starts with.

    Raises GuestError when the binary is not there, or the settings cannot be written.
    """
    if spec.agent == NO_AGENT:
        return
    from sandboxfile.agents import find_agent, find_service  # they load the file's language: no boot waits for that

    agent = find_agent(spec.agent)
    services = [find_service(name) for name in agent.services]
    ended = await guest.run(
        ("/bin/sh", "-c", _PREPARE, "prepare", agent.binary, *_files(agent, services, spec)),
        user=spec.user,
        cwd=None,
        env=environment(spec, *more, image=image),
    )
    if ended.code == _NO_BINARY:
        raise GuestError(
            f'agent binary "{agent.binary}" not found in sandbox: verify this is the correct sandbox type',
            hint=f"`template: {agent.name}` brings it along",
        )
    if ended.code != 0:
        raise GuestError(f"the settings of {agent.title} cannot be written inside", output=ended.output)


def _files(agent: Agent, services: Sequence[Service], spec: DesiredSandbox) -> Iterator[str]:
    words = {
        "workdir": spec.workdir,
        "workdir_json": json.dumps(spec.workdir, ensure_ascii=False),
        "placeholder": _placeholder(services, dict(spec.policy.settings)),
    }
    for file in agent.files:
        yield f"{file.mode:o}"
        yield _WORD.sub(lambda found: words[found[1]], file.content)
        yield file.path


def _placeholder(services: Sequence[Service], settings: Mapping[str, str]) -> str:
    """What stands for the agent's key inside: as its variable has it, else as its first service does."""
    given = [settings[variable] for service in services for variable in service.variables if variable in settings]
    return next(iter([*given, *(service.placeholder for service in services)]), "")
