"""What comes with sandboxfile, as data: agents, the services that they use, and templates. Pure: reads its own files.

AGENT.toml             one agent: binary, template, hosts, arguments, environment, settings
services/SERVICE.toml  who wants a credential: its variables on the host, and where it goes
reading                these files to `model.agent`
serving                which service a secret of a file is for
command                the command that starts an agent
builtin                the templates, the agents' own among them
"""

from sandboxfile.agents.reading import AGENTS as AGENTS
from sandboxfile.agents.reading import SERVICES as SERVICES
from sandboxfile.agents.reading import find_agent as find_agent
from sandboxfile.agents.reading import find_service as find_service
from sandboxfile.agents.reading import service_of_variable as service_of_variable
