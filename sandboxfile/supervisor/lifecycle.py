"""What a sandbox does when something happens: events in, new state and commands out. Pure; the runner does the work.

The machine goes starting -> running -> stopping -> gone, with `paused` when QEMU says so. The main process is started
once setup is done, started again as the restart policy says, and ended before the machine is. Times are Docker's:
0.1 s before the first restart, doubled up to a minute, forgotten once the process lived for ten seconds.
"""

from dataclasses import dataclass, field, replace

from sandboxfile.model.desired import Restart
from sandboxfile.model.observed import Health, MainProcess

FIRST_DELAY = 0.1  # seconds
LONGEST_DELAY = 60.0
LONG_ENOUGH = 10.0  # seconds of life after which the process counts as having worked


@dataclass(frozen=True, slots=True)
class Life:
    """The state. `delay` is the back-off before the next restart; `gone`: the machine has ended."""

    health: Health = "starting"
    main: MainProcess = field(default_factory=MainProcess)
    restart: Restart = "no"
    has_command: bool = False
    delay: float = FIRST_DELAY
    gone: bool = False


# --- events ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GuestReady:
    """The guest answers and every workspace is mounted."""


@dataclass(frozen=True, slots=True)
class MachinePaused:
    """QEMU stopped the guest's processors; somebody asked it to."""


@dataclass(frozen=True, slots=True)
class MachineResumed:
    pass


@dataclass(frozen=True, slots=True)
class MachineDied:
    """QEMU has ended, for whatever reason."""


@dataclass(frozen=True, slots=True)
class MainWanted:
    """Somebody asks for the main process: after setup, or again after it exited."""


@dataclass(frozen=True, slots=True)
class MainExited:
    """`lived` in seconds."""

    code: int
    lived: float


@dataclass(frozen=True, slots=True)
class BackOffOver:
    pass


@dataclass(frozen=True, slots=True)
class RestartChanged:
    restart: Restart
    has_command: bool


@dataclass(frozen=True, slots=True)
class StopAsked:
    pass


@dataclass(frozen=True, slots=True)
class SleepAsked:
    """Nothing was done for long enough. Refused unless that is true at this moment, as far as can be seen here."""


Event = (
    GuestReady
    | MachinePaused
    | MachineResumed
    | MachineDied
    | MainWanted
    | MainExited
    | BackOffOver
    | RestartChanged
    | StopAsked
    | SleepAsked
)


# --- commands ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LaunchMain:
    """Start the main process; MainExited follows."""


@dataclass(frozen=True, slots=True)
class WaitBackOff:
    """BackOffOver follows after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class CancelBackOff:
    pass


@dataclass(frozen=True, slots=True)
class EndMain:
    """TERM to the main process, KILL when it does not listen; MainExited follows."""


@dataclass(frozen=True, slots=True)
class ResumeMachine:
    """A paused guest cannot be asked to power off."""


@dataclass(frozen=True, slots=True)
class MarkAsleep:
    """Remember on disk that nobody stopped it: the next use is to start it."""


@dataclass(frozen=True, slots=True)
class PowerOff:
    """Sync and power off inside, then by force; MachineDied follows."""


@dataclass(frozen=True, slots=True)
class Finish:
    """Nothing is left to do: the supervisor ends."""


Command = LaunchMain | WaitBackOff | CancelBackOff | EndMain | ResumeMachine | MarkAsleep | PowerOff | Finish
Commands = tuple[Command, ...]


def at_rest(life: Life) -> bool:
    """Whether the machine runs and nothing of ours in it: a main process that is still to be started is awaited."""
    main = life.main.status
    return life.health == "running" and (main == "exited" or (main == "none" and not life.has_command))


def step(life: Life, event: Event) -> tuple[Life, Commands]:
    """The next state and what to do. Total: an event that means nothing in a state changes nothing."""
    if life.gone:
        return life, ()
    match event:
        case MachineDied():
            return _died(life)
        case StopAsked():
            return _stop(life)
        case SleepAsked():
            return _sleep(life)
        case GuestReady():
            return _when(life, "starting", "running")
        case MachinePaused():
            return _when(life, "running", "paused")
        case MachineResumed():
            return _when(life, "paused", "running")
        case _:
            return _step_main(life, event)


def _step_main(life: Life, event: RestartChanged | MainWanted | MainExited | BackOffOver) -> tuple[Life, Commands]:
    match event:
        case RestartChanged(restart, has_command):
            return replace(life, restart=restart, has_command=has_command), ()
        case MainWanted():
            return _wanted(life)
        case MainExited(code, lived):
            return _exited(life, code, lived)
        case BackOffOver():
            return _launch_again(life)


def _when(life: Life, now: Health, then: Health) -> tuple[Life, Commands]:
    return (replace(life, health=then) if life.health == now else life), ()


def _died(life: Life) -> tuple[Life, Commands]:
    cancel: Commands = (CancelBackOff(),) if life.main.status == "waiting" else ()
    main = replace(life.main, status="exited") if life.main.status in ("running", "waiting") else life.main
    return replace(life, gone=True, health="stopping", main=main), (*cancel, Finish())


def _stop(life: Life) -> tuple[Life, Commands]:
    if life.health == "stopping":
        return life, ()
    commands: Commands = (ResumeMachine(),) if life.health == "paused" else ()
    stopping = replace(life, health="stopping")
    if life.main.status == "running":
        return stopping, (*commands, EndMain())
    if life.main.status == "waiting":
        return replace(stopping, main=replace(life.main, status="exited")), (*commands, CancelBackOff(), PowerOff())
    return stopping, (*commands, PowerOff())


def _sleep(life: Life) -> tuple[Life, Commands]:
    if not at_rest(life):
        return life, ()
    # Nothing can begin from here on, so what is remembered is true whenever this process is killed.
    return replace(life, health="stopping"), (MarkAsleep(), PowerOff())


def _wanted(life: Life) -> tuple[Life, Commands]:
    if not life.has_command or life.health == "stopping" or life.main.status == "running":
        return life, ()
    cancel: Commands = (CancelBackOff(),) if life.main.status == "waiting" else ()
    return replace(life, main=replace(life.main, status="running"), delay=FIRST_DELAY), (*cancel, LaunchMain())


def _exited(life: Life, code: int, lived: float) -> tuple[Life, Commands]:
    if life.main.status != "running":
        return life, ()
    exited = replace(life.main, status="exited", exit_code=code)
    if life.health == "stopping":
        return replace(life, main=exited), (PowerOff(),)
    if life.restart == "no" or (life.restart == "on-failure" and code == 0):
        return replace(life, main=exited), ()
    delay = FIRST_DELAY if lived >= LONG_ENOUGH else life.delay
    waiting = replace(life.main, status="waiting", exit_code=code)
    return replace(life, main=waiting, delay=min(delay * 2, LONGEST_DELAY)), (WaitBackOff(delay),)


def _launch_again(life: Life) -> tuple[Life, Commands]:
    if life.main.status != "waiting" or life.health == "stopping":
        return life, ()
    main = replace(life.main, status="running", restarts=life.main.restarts + 1)
    return replace(life, main=main), (LaunchMain(),)
