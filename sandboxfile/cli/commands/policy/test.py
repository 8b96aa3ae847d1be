"""Run the tests of the file's policies (`tests:`), and of the user's and the machine's. Exit code 1 when one fails.

Nothing is contacted: names are judged as they are, as if they led to public addresses.
"""

import argparse
from collections.abc import Iterator, Sequence

from sandboxfile.cli import exits
from sandboxfile.cli.project import WrongFile, load_file, show_problems
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.json import write_json
from sandboxfile.cli.views.text import did_you_mean, one_line, table
from sandboxfile.errors import NotFoundError
from sandboxfile.policy.checks import Failure, check_policy
from sandboxfile.resolve.policies import PolicyTest

HEADER = ("POLICY", "EXPECTED", "REQUEST", "RESULT", "REASON")
_WIDTH = 160  # characters of a cell


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("policies", metavar="POLICY", nargs="*", help="only these; default: all that have tests")


def run(args: argparse.Namespace, console: Console) -> int:
    loaded = load_file(args)
    show_problems(loaded, console)
    if loaded.desired is None:
        raise WrongFile("the sandbox file has errors; nothing was tested")
    tests = chosen(loaded.policy_tests, args.policies)
    results = [result for test in tests for result in run_test(test, loaded.today)]
    failed = [each for each in results if each["result"] != "ok"]
    if args.format == "json":
        write_json(results, console)
    else:
        console.print(table(HEADER, [[one_line(each[name.lower()], _WIDTH) for name in HEADER] for each in results]))
    console.say(f"{len(results)} tests, {len(failed)} failed")
    return exits.FAILED if failed else exits.OK


def chosen(tests: Sequence[PolicyTest], names: Sequence[str]) -> list[PolicyTest]:
    """The tests of the policies named, by `team` or `user policy team`; all without names. Raises NotFoundError."""
    known = {test.name.partition("policy ")[2] or test.name for test in tests}
    for name in names:
        if not any(_is_called(test, name) for test in tests):
            hint = did_you_mean(name, sorted(known)) or f"those with tests are {', '.join(sorted(known)) or 'none'}"
            raise NotFoundError(f"there is no policy {name} with tests", hint=hint)
    return [test for test in tests if not names or any(_is_called(test, name) for name in names)]


def _is_called(test: PolicyTest, name: str) -> bool:
    return name in (test.name, test.name.partition("policy ")[2])


def run_test(test: PolicyTest, day: str) -> Iterator[dict[str, str]]:
    """A result for each request of one policy: `ok`, or `FAILED` with the reason for the decision."""
    failures: dict[tuple[bool, str], Failure] = {
        (each.expected, each.target): each for each in check_policy(test.policy, test.allow, test.deny, day)
    }
    for expected, targets in ((True, test.allow), (False, test.deny)):
        for target in targets:
            failure = failures.get((expected, target))
            yield {
                "policy": test.name,
                "expected": "allow" if expected else "deny",
                "request": target,
                "result": "FAILED" if failure else "ok",
                "reason": failure.reason if failure else "",
            }
