"""Write a commented sandbox.yaml into the current directory. Never overwrites one."""

import argparse
from pathlib import Path

from sandboxfile.cli import exits
from sandboxfile.cli.views.console import Console
from sandboxfile.errors import SandboxfileError
from sandboxfile.host.layout import SANDBOX_FILES
from sandboxfile.names import name_from

TEXT = """\
# What runs here, checked in beside the code. `sbx plan` shows what would change, `sbx up` makes it so.
name: {project}                     # the project; default: the directory's name

templates:
  dev:
    base: debian:bookworm           # a Debian release
    packages:
      apt: [git, ca-certificates]   # installed into the template's disk
    # env: {{EDITOR: vim}}            # for every sandbox of this template

policies:
  dev:                              # what may be reached; everything else is blocked
    allow:
      - api.example.com:443         # a host and its port; "*.example.com" is every subdomain
      # - preset: apt               # where this host's own apt (npm, pip) gets its packages
      # - {{host: git.example.com, methods: [GET, HEAD], paths: ["/acme/**"]}}
      # - {{host: db.example.com, port: 5432, protocol: tcp}}
    # block: [ads.example.com]
    # tests: {{allow: ["https://api.example.com/"], deny: ["https://example.com/"]}}  # run by `sbx validate`

secrets:                            # keys stay on this host: requests get them on the way out, for these hosts only
  tracker:
    env: TRACKER_TOKEN              # or file: PATH, command: [PROGRAM], store: NAME (`sbx secret set`)
    inject: [{{host: tracker.example.com, bearer: true}}]

sandboxes:
  dev:
    # agent: claude                 # brings its template, credentials and hosts; `sbx run dev` starts it
    # secrets: [tracker]            # used only where it is named
    template: dev
    policy: dev
    workspaces:
      - .                           # PATH[:TARGET][:ro|rw]; the same absolute path inside unless TARGET is given
      # - ~/docs:ro                 # read-only, enforced on the host
    # env: {{NODE_ENV: development}}
    # env_file: .env.dev
    # ports: ["8080:80"]            # 127.0.0.1:8080 of this host is port 80 inside
    # git: {{name: Ada, email: ada@example.com}}  # whose commits they are; `host`: who git knows on this host
    resources: {{cpus: 2, memory: 1GiB, disk: 10GiB}}
    # setup: ["make deps"]          # once, when the sandbox is created, in the first workspace
    # command: ["make", "serve"]    # the main process, restarted as `restart` says
    # restart: on-failure           # no | on-failure | always
    # protect: true                 # never replaced or deleted without --allow-destroy
"""


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", help="the project's name; default: from the directory's name")


def run(args: argparse.Namespace, console: Console) -> int:
    path = Path(args.file or SANDBOX_FILES[0])
    for existing in {path, *(path.with_name(name) for name in SANDBOX_FILES)} if args.file is None else {path}:
        if existing.exists():
            raise SandboxfileError(f"{existing} exists already", hint="edit it, or remove it first")
    project = args.name or name_from(path.absolute().parent.name)
    with path.open("x", encoding="utf-8") as file:
        file.write(TEXT.format(project=project))
    console.say(f"wrote {path}; next: sbx plan, sbx up")
    return exits.OK
