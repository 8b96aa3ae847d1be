"""What each sandbox, and each build of a template, is held to: layers of rules, from three files and from presets.

`resolve` of a wrong file finds further problems here; nothing of it is applied.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from sandboxfile.diagnostics import Diagnostics, Span, error
from sandboxfile.model.policy import Layer, Policy
from sandboxfile.model.spec import Path, PolicyFile, PolicySpec, SandboxFile, written_policies
from sandboxfile.model.template import Recipe
from sandboxfile.policy.implied import settled
from sandboxfile.resolve.chains import chain_of
from sandboxfile.resolve.credentials import Held, resolve_credentials
from sandboxfile.resolve.inputs import ResolveInputs
from sandboxfile.resolve.policy_book import PolicyBook
from sandboxfile.resolve.presets import ORIGIN, preset_settings

SANDBOX_RULES = 20_000  # a sandbox's policy travels in one message
PROJECT_RULES = 200_000


@dataclass(frozen=True, slots=True)
class PolicyTest:
    """The `tests` of one policy, which is the only layer of `policy`. Spans in the order of `allow` and `deny`."""

    name: str
    place: str
    policy: Policy
    allow: tuple[str, ...]
    deny: tuple[str, ...]
    allow_spans: tuple[Span | None, ...]
    deny_spans: tuple[Span | None, ...]


@dataclass(frozen=True, slots=True)
class Policies:
    """By name: what sandboxes are held to, and what the builds of templates are."""

    sandboxes: Mapping[str, Policy] = field(default_factory=dict)
    templates: Mapping[str, Policy] = field(default_factory=dict)


def resolve_policies(
    file: SandboxFile, inputs: ResolveInputs, recipes: Mapping[str, Recipe] | None = None
) -> tuple[Policies, Diagnostics]:
    """The policy of every sandbox, and of every template that has one of the `recipes`; what is wrong with policies."""
    book = PolicyBook(file, inputs)
    for path, policy in written_policies(file):  # those that nobody uses as well
        book.rules(0, path, policy)
    enforced = tuple(book.enforced())
    found: dict[Path, Policy] = {}
    total = 0
    for path, written in _wanted(book, recipes or {}):
        held = _held(book, path)
        layers = (*enforced, settled(replace(written, allow=(*written.allow, *held.rules))) if held.rules else written)
        count = sum(map(_count, layers))
        total += count
        if count > SANDBOX_RULES or total > PROJECT_RULES:
            detail = f"`{path[1]}` has {count} rules; with it the project has {total}."
            hint = f"the most is {SANDBOX_RULES} for a sandbox and {PROJECT_RULES} for a project"
            return _by_kind(found), (*book.problems, error("Too many rules", detail, file.span(*path), hint))
        settings = {**dict(preset_settings(_presets(layers), inputs.presets)), **dict(held.settings)}
        found[path] = Policy(layers, tuple(sorted(settings.items())), held.credentials)
        if file.whole and held.credentials:
            from sandboxfile.resolve.bound import check_bound  # here: who has no secrets compiles no policy

            book.problems += check_bound(found[path], inputs.today, file.span(*path))
    # With a book of its own: what is wrong with a tested policy of the user is no problem until a sandbox uses it.
    if len(policy_tests(file, inputs)) < sum(1 for _ in _tested(book)):
        detail = f"The policies that have `tests` come to more than {PROJECT_RULES} rules with all that they extend."
        return _by_kind(found), (*book.problems, error("Too many rules", detail, file.span("policies")))
    return _by_kind(found), (*inputs.policies.problems, *book.problems)


def _wanted(book: PolicyBook, recipes: Mapping[str, Recipe]) -> Iterator[tuple[Path, Layer]]:
    for name in sorted(book.file.sandboxes):
        yield ("sandboxes", name), book.own(name)
    for name in sorted(recipes):
        chain = chain_of(book.file, name)
        assert chain is not None, "a recipe comes of a chain"
        yield ("templates", name), book.of_build(chain, recipes[name])


def _held(book: PolicyBook, path: Path) -> Held:
    """What a sandbox has of its agent and of secrets; a build has neither."""
    if path[0] != "sandboxes":
        return Held()
    held, problems = resolve_credentials(book.file, str(path[1]), book.inputs)
    book.problems += problems
    return held


def _by_kind(found: Mapping[Path, Policy]) -> Policies:
    sandboxes, templates = (
        {str(path[1]): policy for path, policy in found.items() if path[0] == kind}
        for kind in ("sandboxes", "templates")
    )
    return Policies(sandboxes, templates)


def policy_tests(file: SandboxFile, inputs: ResolveInputs) -> tuple[PolicyTest, ...]:
    """The tests of every policy of the three files that has some, the file's own first.

    As many as come to PROJECT_RULES; where there are more, `resolve_policies` says so.
    """
    book = PolicyBook(file, inputs)
    tests: list[PolicyTest] = []
    total = 0
    for index, path, policy in _tested(book):
        layer = book.layer(index, path, policy)
        total += _count(layer)
        if total > PROJECT_RULES:
            break
        tests.append(_test(layer, book.shelves[index].file, path, policy))
    return tuple(tests)


def _tested(book: PolicyBook) -> Iterator[tuple[int, Path, PolicySpec]]:
    for index, shelf in enumerate(book.shelves):
        for path, policy in written_policies(shelf.file):
            if policy.tests.allow or policy.tests.deny:
                yield index, path, policy


def _count(layer: Layer) -> int:
    return len(layer.allow) + len(layer.block) + len(layer.bypass)


def _test(layer: Layer, file: SandboxFile | PolicyFile, path: Path, policy: PolicySpec) -> PolicyTest:
    tests = policy.tests
    return PolicyTest(
        layer.name,
        layer.place,
        Policy((layer,)),
        tests.allow,
        tests.deny,
        tuple(file.span(*path, "tests", "allow", index) for index in range(len(tests.allow))),
        tuple(file.span(*path, "tests", "deny", index) for index in range(len(tests.deny))),
    )


def _presets(layers: Iterable[Layer]) -> frozenset[str]:
    origins = {rule.origin for layer in layers for rule in layer.allow}
    return frozenset(origin.removeprefix(ORIGIN) for origin in origins if origin.startswith(ORIGIN))
