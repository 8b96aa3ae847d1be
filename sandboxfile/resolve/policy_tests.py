"""Running the `tests` that are written with policies: an error for each request that is decided otherwise."""

from collections.abc import Iterable, Iterator

from sandboxfile.diagnostics import Diagnostic, Diagnostics, error, in_order
from sandboxfile.policy.checks import check_policy
from sandboxfile.resolve.policies import PolicyTest


def run_policy_tests(tests: Iterable[PolicyTest], today: str) -> Diagnostics:
    """What fails, each at the place of the test. Nothing is resolved or reached."""
    return in_order(problem for test in tests for problem in _run(test, today))


def _run(test: PolicyTest, today: str) -> Iterator[Diagnostic]:
    written = ((True, test.allow, test.allow_spans), (False, test.deny, test.deny_spans))
    places = {
        (text, expected): span for expected, texts, spans in written for text, span in zip(texts, spans, strict=True)
    }
    for failure in check_policy(test.policy, test.allow, test.deny, today):
        wanted = "be allowed, and is denied" if failure.expected else "be denied, and is allowed"
        detail = f"By {test.name}, {failure.target} must {wanted}: {failure.reason}"
        yield error("Policy test failed", detail, places[failure.target, failure.expected])
