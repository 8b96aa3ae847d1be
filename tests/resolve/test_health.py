"""Healthchecks and idle times: a sandbox's own upon those of the defaults."""

import pytest

from sandboxfile.model.desired import Command, Healthcheck

DEFAULTS = "defaults: {healthcheck: {command: [probe], interval: 5s, retries: 9}, idle_stop: 30m}\n"


def test_without_any_nothing_is_looked_at_and_nothing_sleeps(host):
    sandbox = host.only("sandboxes: {web: {}}")
    assert (sandbox.healthcheck, sandbox.idle_stop) == (None, 0.0)


def test_what_is_not_said_is_as_in_docker(host):
    sandbox = host.only("sandboxes: {web: {healthcheck: {command: [probe]}}}")
    assert sandbox.healthcheck == Healthcheck(Command(("probe",)), 30.0, 30.0, 3, 0.0)


@pytest.mark.parametrize(
    ("own", "check", "idle_stop"),
    [
        ("{}", Healthcheck(Command(("probe",)), 5.0, retries=9), 1800.0),
        ("{healthcheck: {interval: 1s}}", Healthcheck(Command(("probe",)), 1.0, retries=9), 1800.0),
        (
            "{healthcheck: {command: [other], start_period: 1m}, idle_stop: 1h}",
            Healthcheck(Command(("other",)), 5.0, retries=9, start_period=60.0),
            3600.0,
        ),
        ("{healthcheck: null, idle_stop: null}", None, 0.0),
    ],
)
def test_defaults_lie_beneath_and_can_be_lifted(host, own, check, idle_stop):
    sandbox = host.only(f"{DEFAULTS}sandboxes: {{web: {own}}}")
    assert (sandbox.healthcheck, sandbox.idle_stop) == (check, idle_stop)


def test_times_of_the_defaults_are_those_of_the_sandboxs_command(host):
    sandbox = host.only("defaults: {healthcheck: {interval: 2s}}\nsandboxes: {web: {healthcheck: {command: [own]}}}")
    assert sandbox.healthcheck == Healthcheck(Command(("own",)), 2.0)
