"""One sandbox: decisions that race with a new policy, flows that are cut once, words that never fail."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from sandboxfile.gateway import tenant as module
from sandboxfile.gateway.log import NetworkLog
from sandboxfile.gateway.overrides import Overrides
from sandboxfile.gateway.resolver import Resolver
from sandboxfile.gateway.sources import Sources
from sandboxfile.gateway.tenant import Authority, Tenant
from sandboxfile.gateway.values import Values
from sandboxfile.model.credential import Credential, Injection, SecretSource
from sandboxfile.model.policy import Policy, Request, Rule
from sandboxfile.policy.compiled import Compiled, compile_policy

from .conftest import no_source

pytestmark = pytest.mark.anyio

REQUEST = Request("api.example.com", 443)


@pytest.fixture
def make(tmp_path: Path, make_policy: Callable[..., Policy]) -> Iterator[Callable[..., Tenant]]:
    made: list[Tenant] = []
    (tmp_path / "resolver.json").write_text('{"resolve": {"api.example.com": "127.0.0.1"}}')
    (tmp_path / "resolver.json").chmod(0o600)
    resolver = Resolver(Overrides(tmp_path / "resolver.json"))

    def start(*allow: Rule | str) -> Tenant:
        log = NetworkLog(tmp_path / "network.log", "shop/web")
        values = Values(Sources(no_source))
        compiled = compile_policy(make_policy(*allow))
        found = Tenant("shop/web", compiled, Authority("", ""), log, resolver, {}, values)
        made.append(found)
        return found

    yield start
    for tenant in made:
        tenant.close()
        tenant.log.close()
    resolver.close()


async def test_an_allowed_request_carries_the_addresses_that_were_checked(make: Callable[..., Tenant]) -> None:
    decision = await make("api.example.com").authorize(REQUEST)
    assert decision.allowed
    assert decision.addresses == ("127.0.0.1",)


async def test_an_address_of_this_host_is_guarded(make: Callable[..., Tenant]) -> None:
    """`*` of mode deny, and an override that leads it to loopback, whose default block is lifted by nobody."""
    tenant = make("*", "127.0.0.0/8")
    assert (await tenant.authorize(REQUEST)).allowed
    assert (await make("*").authorize(REQUEST)).rule == "default block"


async def test_a_policy_that_changes_while_a_name_is_resolved_is_the_one_that_counts(
    make: Callable[..., Tenant], make_policy: Callable[..., Policy], monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = make("api.example.com")
    resolve = tenant._resolver.resolve

    async def change(*arguments: Any) -> Any:
        tenant.set_policy(compile_policy(make_policy()))
        return await resolve(*arguments)

    monkeypatch.setattr(tenant._resolver, "resolve", change)
    assert not (await tenant.authorize(REQUEST)).allowed


async def test_a_policy_that_changes_between_a_decision_and_its_flow_cuts_the_flow(
    make: Callable[..., Tenant], make_policy: Callable[..., Policy]
) -> None:
    tenant = make("api.example.com")
    decision = await tenant.authorize(REQUEST)
    tenant.set_policy(compile_policy(make_policy()))
    cut = anyio.Event()
    tenant.begin(REQUEST, decision, cut.set)
    assert not cut.is_set()  # its owner does not have it yet
    with anyio.fail_after(5):
        await cut.wait()


async def test_a_rule_whose_last_day_has_passed_cuts_what_it_allowed(
    make: Callable[..., Tenant], monkeypatch: pytest.MonkeyPatch
) -> None:
    day = "2027-01-31"
    monkeypatch.setattr(module, "today", lambda: day)
    monkeypatch.setattr(module, "_DAY_CHECK", 0.01)
    tenant = make(Rule("api.example.com", until="2027-01-31"))
    decision = await tenant.authorize(REQUEST)
    assert decision.allowed
    cut = anyio.Event()
    tenant.begin(REQUEST, decision, cut.set)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(tenant.follow_days)
            await anyio.wait_all_tasks_blocked()
            assert not cut.is_set()
            day = "2027-02-01"
            await cut.wait()
            group.cancel_scope.cancel()
    assert not (await tenant.authorize(REQUEST)).allowed


async def test_a_flow_is_cut_once_and_not_at_all_when_it_is_over(
    make: Callable[..., Tenant], make_policy: Callable[..., Policy]
) -> None:
    tenant = make("api.example.com")
    decision = await tenant.authorize(REQUEST)
    cuts: list[str] = []
    flow = tenant.begin(REQUEST, decision, lambda: cuts.append("open"))
    over = tenant.begin(REQUEST, decision, lambda: cuts.append("over"))
    over.end(200)
    for _ in range(2):
        tenant.set_policy(compile_policy(make_policy()))
    flow.end(200)
    assert cuts == ["open"]


async def test_after_its_registration_everything_is_denied(make: Callable[..., Tenant]) -> None:
    tenant = make("api.example.com")
    tenant.close()
    for decision in (tenant.decide(REQUEST), await tenant.authorize(REQUEST)):
        assert not decision.allowed
        assert "no longer registered" in decision.reason
    assert not tenant.resolvable("api.example.com")


async def test_what_is_denied_is_not_dialled_whoever_asks(make: Callable[..., Tenant]) -> None:
    tenant = make()
    with pytest.raises(PermissionError):
        await tenant.dial(await tenant.authorize(REQUEST))


async def test_a_rule_counts_on_its_last_day_and_not_on_the_next(
    make: Callable[..., Tenant], monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = make(Rule("api.example.com", until="2027-01-31"))
    monkeypatch.setattr(module, "today", lambda: "2027-01-31")
    assert tenant.decide(REQUEST).allowed
    monkeypatch.setattr(module, "today", lambda: "2027-02-01")
    assert not tenant.decide(REQUEST).allowed


async def test_every_question_is_answered_with_a_denial_when_our_code_raises(
    make: Callable[..., Tenant], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    tenant = make("api.example.com")

    def fail(*_: object) -> None:
        raise ZeroDivisionError("in deciding")

    monkeypatch.setattr(Compiled, "decide", fail)
    monkeypatch.setattr(Compiled, "resolvable", fail)
    monkeypatch.setattr(module, "denial_text", fail)
    decision = await tenant.authorize(REQUEST)
    assert not decision.allowed
    assert not tenant.decide(REQUEST).allowed
    assert "a bug in sandboxfile" in decision.reason
    assert not tenant.resolvable("api.example.com")
    assert tenant.denial(REQUEST, decision).startswith("Blocked by the network policy of sandbox 'web'")
    assert capfd.readouterr().err.count("ZeroDivisionError: in deciding") == 4


@pytest.mark.parametrize(
    ("request_", "target"),
    [
        (Request("api.example.com", 443, "https", "GET", "/v1"), "https://api.example.com/v1"),
        (Request("api.example.com", 8080, "http"), "http://api.example.com:8080/"),
        (Request("2001:db8::1", 443), "https://[2001:db8::1]/"),
        (Request("db.example.com", 5432, "tcp"), "db.example.com:5432"),
    ],
)
async def test_a_denial_names_the_command_that_explains_it(
    make: Callable[..., Tenant], request_: Request, target: str
) -> None:
    tenant = make()
    text = tenant.denial(request_, tenant.decide(request_))
    assert f"sbx policy explain web {target}" in text.replace("'", "")  # as a shell may need them


async def test_what_is_remembered_of_decisions_is_bounded_and_forgotten_with_the_policy(
    make: Callable[..., Tenant], make_policy: Callable[..., Policy]
) -> None:
    tenant = make("*.example.com")
    for number in range(2000):
        assert tenant.decide(Request(f"{number}.example.com", 443)).allowed
        tenant.decide(Request("x" * 300 + str(number), 443))
    assert len(tenant._decided) <= 512
    tenant.set_policy(compile_policy(make_policy()))
    assert not tenant.decide(Request("1999.example.com", 443)).allowed


async def test_bindings_are_others_as_soon_as_the_policy_is_and_none_when_it_is_over(
    make: Callable[..., Tenant], make_policy: Callable[..., Policy]
) -> None:
    tenant = make("api.example.com")
    credential = Credential("tracker", SecretSource("env", "X"), (Injection("api.example.com", name="x-key"),))
    policy = replace(make_policy("api.example.com"), credentials=(credential,))
    seen = [tenant.bindings]
    for _ in range(2):
        tenant.set_policy(compile_policy(policy))
        seen.append(tenant.bindings)
        assert tenant.bindings is tenant.bindings
    assert [found.binds("api.example.com", 443) for found in seen] == [False, True, True]
    assert seen[1] is not seen[2]
    tenant.close()
    assert not tenant.bindings.binds("api.example.com", 443)


async def test_the_log_names_the_credentials_that_went_along(make: Callable[..., Tenant], tmp_path: Path) -> None:
    tenant = make("api.example.com")
    decision = await tenant.authorize(REQUEST)
    tenant.begin(REQUEST, decision, None, injected=("tracker",)).end(200)
    tenant.begin(REQUEST, decision, None).end(200)
    tenant.log.close()
    first, second = map(json.loads, (tmp_path / "network.log").read_text().splitlines())
    assert first["injected"] == ["tracker"]
    assert "injected" not in second
