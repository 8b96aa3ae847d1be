"""A plan as a file: what `sbx plan -o` writes and `sbx apply` does. Pure: text and key in, text or plan out.

The file is sealed with a key that only its user's state has. An agent that shares the directory in which the file lies
can change it, and then it is no plan any more; the same goes for a plan of another user, another host, another sbx.
Never in it: a value of a secret (credentials are references). Values of `env` are, as they are in records.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from sandboxfile.errors import StateError
from sandboxfile.model.plan import BuildImage, Operation, Plan
from sandboxfile.model.spec_templates import Template
from sandboxfile.planning.snapshot import Snapshot

VERSION = 1
MARK = "sandboxfile_plan"  # the first key: tells such a file from every other
_HINT = "plan again: sbx plan -o FILE"


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """A plan, and what its steps rest on as it was when it was made: enough to say what has moved.

    `vouched`: the paths of its files that were not in doubt then, whatever was written into them since.
    """

    plan: Plan
    rests_on: Snapshot
    vouched: tuple[str, ...] = ()


def encode(saved: SavedPlan, key: bytes, program: str) -> str:
    """The text of the file. `key` is the user's own, `program` the version of sbx. Equal plans give equal texts."""
    content = {
        MARK: VERSION,
        "sbx": program,
        "made_by": identity(key),
        "plan": _plan_to_json(saved.plan),
        "rests_on": asdict(saved.rests_on),
        "vouched": list(saved.vouched),
    }
    return json.dumps({**content, "seal": _seal(content, key)}, indent=1) + "\n"


def decode(data: bytes, key: bytes | None, program: str) -> SavedPlan:
    """Read what `encode` wrote. Raises StateError for everything else; nothing of it is believed before the seal is.

    `key` is None where this user has never saved a plan.
    """
    content = _content(data)
    seal = content.pop("seal", None)
    if content[MARK] != VERSION:
        raise StateError(f"it is a plan of format {content[MARK]!r}; this program knows {VERSION}", hint=_HINT)
    if key is None or content.get("made_by") != identity(key):
        raise StateError("it was saved by another user or on another host, and plans are for where they were made")
    if not isinstance(seal, str) or not hmac.compare_digest(seal.encode(), _seal(content, key).encode()):
        raise StateError("it is not as it was saved: somebody has changed it", hint=_HINT)
    if content["sbx"] != program:
        raise StateError(f"sbx {content['sbx']} saved it, and this is sbx {program}", hint=_HINT)
    try:
        rests_on = _adapters()["Snapshot"].validate_python(content["rests_on"])
        vouched = _adapters()["vouched"].validate_python(content["vouched"])
        return SavedPlan(_plan_from_json(content["plan"]), rests_on, vouched)
    except (ValidationError, LookupError, TypeError) as exc:
        raise StateError(f"it is sealed and cannot be read: {exc}", hint=_HINT) from exc


def identity(key: bytes) -> str:
    """Names a key without telling it."""
    return hashlib.sha256(b"identity\0" + key).hexdigest()[:16]


def _content(data: bytes) -> dict[str, Any]:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise StateError("it is no saved plan", hint="`sbx plan -o FILE` saves one") from exc
    if not isinstance(content, dict) or MARK not in content:
        raise StateError("it is no saved plan", hint="`sbx plan -o FILE` saves one")
    return content


def _seal(content: Mapping[str, Any], key: bytes) -> str:
    """Of what a reader understands, not of its bytes: white space and the order of keys are free."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


# --- plans -------------------------------------------------------------------------------------------------------


def _plan_to_json(plan: Plan) -> dict[str, Any]:
    steps = [
        {"key": step.key, "reason": step.reason, "needs": step.needs, "operation": _operation_to_json(step.operation)}
        for step in plan.steps
    ]
    return {**asdict(replace(plan, steps=())), "steps": steps}


def _plan_from_json(fields: Mapping[str, Any]) -> Plan:
    steps = [{**step, "operation": _operation_from_json(step["operation"])} for step in fields["steps"]]
    return _adapters()["Plan"].validate_python({**fields, "steps": steps})  # type: ignore[no-any-return]


def _operation_to_json(operation: Operation) -> dict[str, Any]:
    if isinstance(operation, BuildImage):  # how the file wrote it is for `sbx config` alone
        operation = BuildImage(replace(operation.template, written=None))
    return {"do": type(operation).__name__, **asdict(operation)}


def _operation_from_json(fields: Mapping[str, Any]) -> Operation:
    given = {name: value for name, value in fields.items() if name != "do"}
    return _adapters()[fields["do"]].validate_python(given)  # type: ignore[no-any-return]


@cache
def _adapters() -> dict[str, TypeAdapter[Any]]:
    """By the type's name: what has the same fields is told apart by that alone."""
    found = {kind.__name__: TypeAdapter[Any](kind) for kind in (Plan, Snapshot, *get_args(Operation))}
    found["vouched"] = TypeAdapter(tuple[str, ...])
    for each in found.values():
        each.rebuild(_types_namespace={"Template": Template})
    return found
