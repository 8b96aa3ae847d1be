"""What is in the files of histories: few values of each field, so that they meet."""

from dataclasses import replace
from typing import Any

from sandboxfile.model.credential import Credential, Injection, SecretSource
from sandboxfile.model.desired import (
    Command,
    Condition,
    Dependency,
    Healthcheck,
    Image,
    Mount,
    Port,
    Resources,
    Workspace,
)
from sandboxfile.model.policy import NO_POLICY, Layer, Policy, Rule
from sandboxfile.model.template import DesiredTemplate, Origin, Recipe

from .fake_supervisor import WORK

PROJECT = "shop"
CONDITIONS: tuple[Condition, ...] = ("started", "healthy", "completed")
NAMES = ("api", "db", "web")
GIB = 1 << 30
IMAGES = (Image("a" * 64), Image("b" * 64))
# What the file's templates come to.
TEMPLATES = tuple(
    DesiredTemplate(name, Recipe(Origin("debian", "trixie"), digest=image.digest))
    for name, image in zip(("shell", "dev"), IMAGES, strict=True)
)
COMMANDS = tuple(Command((word,)) for word in ("fetch", "build", "seed"))
WORKSPACES = tuple(
    Workspace(source, target, mode)  # type: ignore[arg-type]
    for source, target, mode in (
        ("/p/src", "/src", "rw"),
        ("/p/src", "/src", "ro"),
        ("/p/lib", "/lib", "rw"),
        ("/p/doc", "/src/doc", "ro"),
    )
)
_WEB = Layer("policy web", allow=(Rule("api.example.com:443"), Rule("*.example.org")))
_TEAM = Layer("file policy team", "allow", block=(Rule("paste.example.com"),), enforced=True)
KEY = "SBX_TEST_KEY"  # the variable that a credential's value is in
_CREDENTIAL = Credential("key", SecretSource("env", KEY), (Injection("api.example.com", name="X-Key"),))
POLICIES = (
    NO_POLICY,
    Policy((_WEB,)),
    Policy((_TEAM, _WEB), (("PIP_INDEX_URL", "https://pypi.example.com/simple"),)),
    Policy((replace(_WEB, allow=(*_WEB.allow, Rule("db.example.com:5432", "tcp"))),)),
    Policy((_WEB,), credentials=(_CREDENTIAL,)),
    Policy((_WEB,), credentials=(replace(_CREDENTIAL, name="other"),)),
)
POOLS: dict[str, tuple[Any, ...]] = {
    "image": IMAGES,
    "template": ("shell", "dev"),
    "user": ("agent", "root"),
    "workspaces": ((), WORKSPACES[:1], WORKSPACES[1:3], WORKSPACES[2:], (WORKSPACES[2], WORKSPACES[0])),
    "env": ((), (("A", "1"),), (("A", "2"), ("B", "1"))),
    "resources": tuple(
        Resources(c, m * GIB, d * GIB)
        for c, m, d in ((1, 1, 4), (1, 1, 4), (1, 1, 8), (1, 1, 16), (2, 1, 4), (1, 2, 8))
    ),
    "setup": ((), COMMANDS[:1], COMMANDS, (COMMANDS[0], COMMANDS[2]), (COMMANDS[2], COMMANDS[1])),
    "command": (None, Command(("serve",)), WORK),
    "restart": ("no", "always"),
    "protect": (False, False, False, True),
    "docker": (False, True),
    "agent": ("shell", "shell", "shell", "claude"),
    "ports": ((), (), (Port(8080, 80),), (Port(8080, 81), Port(9000, 90))),
    "policy": POLICIES,
    "mounts": ((), (), (Mount("/cache", "cache"),), (Mount("/other", "cache"), Mount("/data", "data"))),
    "depends_on": ((), (), *((Dependency(name, condition),) for name in NAMES for condition in CONDITIONS)),
    "healthcheck": (None, Healthcheck(Command(("check",)))),
    "idle_stop": (0.0, 0.0, 1800.0),
    "profiles": ((),) * 6 + (("ci",), ("ci", "dev")),
}
