"""What `sbx network proxy` changes: rules of the own layer with an origin of their own, beside those of the file.

Of what the command says about one pattern the last word counts. The file's rules are never touched: where they block
what the command allows, they win, as among rules of one file.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from sandboxfile.model.policy import COMMAND, Mode, Policy, Rule
from sandboxfile.policy.implied import settled

_PLACE = "sbx network proxy"


@dataclass(frozen=True, slots=True)
class PolicyEdit:
    """What one command asks for; patterns are canonical. `mode` None: as it is."""

    mode: Mode | None = None
    allow: tuple[str, ...] = ()
    block: tuple[str, ...] = ()
    bypass: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether it asks for nothing."""
        return self == PolicyEdit()


def edited(policy: Policy, edit: PolicyEdit) -> Policy:
    """The policy after the command; the same command again changes nothing. Blocked is what it allows and blocks."""
    own, blocked = policy.own, set(edit.block)
    allowed = tuple(pattern for pattern in edit.allow if pattern not in blocked)
    layer = replace(
        own,
        mode=edit.mode or own.mode,
        allow=_amended(own.allow, allowed, blocked),
        block=_amended(own.block, edit.block, set(allowed)),
        bypass=_amended(own.bypass, edit.bypass, set()),
    )
    return replace(policy, layers=(*policy.layers[:-1], settled(layer)))


def command_edit(policy: Policy, written: Policy | None = None) -> PolicyEdit | None:
    """What commands changed, as one edit, None when nothing: to be written into the file.

    The mode is among it only where `written`, the policy that the file gives, is known and has another.
    """
    own = policy.own
    mode = own.mode if written is not None and written.own.mode != own.mode else None
    edit = PolicyEdit(mode, _made(own.allow), _made(own.block), _made(own.bypass))
    return None if edit.empty else edit


def _amended(rules: tuple[Rule, ...], patterns: Iterable[str], withdrawn: set[str]) -> tuple[Rule, ...]:
    kept = tuple(rule for rule in rules if rule.origin != COMMAND or rule.pattern not in withdrawn)
    present = {rule.pattern for rule in kept if rule.origin == COMMAND}
    new = (pattern for pattern in dict.fromkeys(patterns) if pattern not in present)
    return kept + tuple(Rule(pattern, origin=COMMAND, place=_PLACE) for pattern in new)


def _made(rules: tuple[Rule, ...]) -> tuple[str, ...]:
    return tuple(rule.pattern for rule in rules if rule.origin == COMMAND)
