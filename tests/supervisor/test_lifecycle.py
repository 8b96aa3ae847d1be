"""The state machine, as tables of event -> commands, and the promises that hold for every history."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxfile.model.observed import MainProcess
from sandboxfile.supervisor.lifecycle import (
    BackOffOver,
    CancelBackOff,
    EndMain,
    Event,
    Finish,
    GuestReady,
    LaunchMain,
    Life,
    MachineDied,
    MachinePaused,
    MachineResumed,
    MainExited,
    MainWanted,
    MarkAsleep,
    PowerOff,
    RestartChanged,
    ResumeMachine,
    SleepAsked,
    StopAsked,
    WaitBackOff,
    step,
)


def play(life: Life, *events: Event) -> tuple[Life, list[Any]]:
    commands: list[Any] = []
    for event in events:
        life, more = step(life, event)
        commands += more
    return life, commands


NEW = Life()
READY, _ = play(NEW, GuestReady())
WITH_MAIN, _ = play(Life(has_command=True), GuestReady(), MainWanted())
ALWAYS, _ = play(Life(has_command=True, restart="always"), GuestReady(), MainWanted())
ON_FAILURE, _ = play(Life(has_command=True, restart="on-failure"), GuestReady(), MainWanted())


@pytest.mark.parametrize(
    ("life", "events", "health", "main", "commands"),
    [
        pytest.param(NEW, [GuestReady()], "running", "none", [], id="ready"),
        pytest.param(NEW, [MachinePaused()], "starting", "none", [], id="a pause while starting is not yet a state"),
        pytest.param(READY, [MachinePaused()], "paused", "none", [], id="paused behind our back"),
        pytest.param(READY, [MachinePaused(), MachineResumed()], "running", "none", [], id="resumed"),
        pytest.param(READY, [MainWanted()], "running", "none", [], id="no command, no main process"),
        pytest.param(WITH_MAIN, [], "running", "running", [], id="the main process runs"),
        pytest.param(WITH_MAIN, [MainWanted()], "running", "running", [], id="it is not started twice"),
        pytest.param(WITH_MAIN, [MainExited(1, 99)], "running", "exited", [], id="restart no"),
        pytest.param(
            WITH_MAIN, [MainExited(1, 99), MainWanted()], "running", "running", [LaunchMain()], id="asked for again"
        ),
        pytest.param(ON_FAILURE, [MainExited(0, 1)], "running", "exited", [], id="on-failure, success"),
        pytest.param(ON_FAILURE, [MainExited(2, 1)], "running", "waiting", [WaitBackOff(0.1)], id="on-failure, 2"),
        pytest.param(ALWAYS, [MainExited(0, 1)], "running", "waiting", [WaitBackOff(0.1)], id="always, success"),
        pytest.param(
            ALWAYS,
            [MainExited(0, 1), MainWanted()],
            "running",
            "running",
            [WaitBackOff(0.1), CancelBackOff(), LaunchMain()],
            id="asked for during the back-off: at once",
        ),
        pytest.param(
            ALWAYS,
            [MainExited(0, 1), RestartChanged("no", True), BackOffOver(), MainExited(0, 1)],
            "running",
            "exited",
            [WaitBackOff(0.1), LaunchMain()],
            id="a changed policy counts from the next exit",
        ),
        pytest.param(READY, [StopAsked()], "stopping", "none", [PowerOff()], id="stop without main process"),
        pytest.param(NEW, [StopAsked()], "stopping", "none", [PowerOff()], id="stop while starting"),
        pytest.param(NEW, [StopAsked(), GuestReady()], "stopping", "none", [PowerOff()], id="ready too late"),
        pytest.param(ALWAYS, [StopAsked()], "stopping", "running", [EndMain()], id="stop: the main process first"),
        pytest.param(
            ALWAYS,
            [StopAsked(), StopAsked(), MainExited(143, 1), StopAsked()],
            "stopping",
            "exited",
            [EndMain(), PowerOff()],
            id="stop: no restart, and only once",
        ),
        pytest.param(
            ALWAYS,
            [MainExited(1, 1), StopAsked(), BackOffOver()],
            "stopping",
            "exited",
            [WaitBackOff(0.1), CancelBackOff(), PowerOff()],
            id="stop during the back-off",
        ),
        pytest.param(
            ALWAYS,
            [MachinePaused(), StopAsked()],
            "stopping",
            "running",
            [ResumeMachine(), EndMain()],
            id="a paused machine goes on so that it can stop",
        ),
        pytest.param(ALWAYS, [MachineDied()], "stopping", "exited", [Finish()], id="the machine died"),
        pytest.param(
            ALWAYS,
            [MainExited(1, 1), MachineDied(), BackOffOver(), MainWanted(), StopAsked()],
            "stopping",
            "exited",
            [WaitBackOff(0.1), CancelBackOff(), Finish()],
            id="nothing happens after the machine's end",
        ),
        pytest.param(READY, [SleepAsked()], "stopping", "none", [MarkAsleep(), PowerOff()], id="nothing is done"),
        pytest.param(
            WITH_MAIN,
            [MainExited(1, 1), SleepAsked(), MainWanted(), SleepAsked()],
            "stopping",
            "exited",
            [MarkAsleep(), PowerOff()],
            id="its main process has ended, and nobody can start it again meanwhile",
        ),
        pytest.param(NEW, [SleepAsked()], "starting", "none", [], id="no sleep while starting"),
        pytest.param(READY, [MachinePaused(), SleepAsked()], "paused", "none", [], id="no sleep while paused"),
        pytest.param(WITH_MAIN, [SleepAsked()], "running", "running", [], id="no sleep beside a main process"),
        pytest.param(
            ALWAYS, [MainExited(1, 1), SleepAsked()], "running", "waiting", [WaitBackOff(0.1)],
            id="no sleep during the back-off",
        ),
        pytest.param(
            Life("running", has_command=True), [SleepAsked()], "running", "none", [],
            id="no sleep before the main process was started",
        ),
        pytest.param(READY, [StopAsked(), SleepAsked()], "stopping", "none", [PowerOff()], id="stopped is not asleep"),
        pytest.param(
            WITH_MAIN, [StopAsked(), MachineDied(), MainExited(255, 1)], "stopping", "exited", [EndMain(), Finish()],
            id="the machine died while stopping",
        ),
    ],
)  # fmt: skip
def test_an_event_leads_to_commands(
    life: Life, events: list[Event], health: str, main: str, commands: list[Any]
) -> None:
    after, given_commands = play(life, *events)
    assert (after.health, after.main.status, given_commands) == (health, main, commands)


def test_the_back_off_doubles_up_to_a_minute_and_is_forgotten_after_ten_seconds_of_life() -> None:
    life, delays = ALWAYS, []
    for lived in [1.0] * 12 + [10.0, 9.9]:
        life, commands = play(life, MainExited(1, lived), BackOffOver())
        delays.append(commands[0].seconds)
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60.0, 60.0, 0.1, 0.2]
    assert life.main == MainProcess("running", 1, 14)


EVENTS = st.one_of(
    st.sampled_from(
        [
            GuestReady(),
            MachinePaused(),
            MachineResumed(),
            MachineDied(),
            MainWanted(),
            BackOffOver(),
            StopAsked(),
            SleepAsked(),
        ]
    ),
    st.builds(MainExited, st.integers(0, 255), st.floats(0, 100)),
    st.builds(RestartChanged, st.sampled_from(["no", "on-failure", "always"]), st.booleans()),
)


@given(st.lists(EVENTS, max_size=40))
def test_whatever_happens_one_main_process_at_a_time_and_one_end(events: list[Event]) -> None:
    life = Life(has_command=True, restart="always")
    running, stopped, finished = False, False, 0
    for event in events:
        if isinstance(event, MainExited) and not running:
            continue  # the runner reports only what it launched
        if isinstance(event, MainExited):
            running = False
        stopped = stopped or isinstance(event, StopAsked | MachineDied)
        life, commands = step(life, event)
        for command in commands:
            assert not finished, "a command after the end"
            if isinstance(command, MarkAsleep):
                assert not running, "asleep with a main process"
                assert not stopped, "asleep when somebody stopped it"
                stopped = True
            if isinstance(command, LaunchMain):
                assert not running, "two main processes"
                assert not stopped, "started after the stop"
                running = True
            finished += isinstance(command, Finish)
    assert finished == int(MachineDied() in events)
    if stopped:
        assert life.health == "stopping"
