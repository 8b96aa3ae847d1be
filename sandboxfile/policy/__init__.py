"""Network policies, decided: pure, total, deterministic. What a gateway, a plan and `sbx policy` say is said here.

addresses.py  what is an address in any spelling, which addresses hide in it, which are private or never dialled
patterns.py   host names and the patterns of rules, in their one canonical spelling
paths.py      paths of requests in their one spelling, and the globs of rules
rules.py      one rule made ready, one request made ready, and whether the one speaks of the other
index.py      rules by name and by range: found at once, however many there are
layers.py     what one layer says of one request, and why
bindings.py   where credentials may go: exactly there, and nowhere else
compiled.py   `compile_policy` and `Compiled.decide`: what all layers say together
reasons.py    the one sentence of a decision
widening.py   whether a policy lets more through than another one
explain.py    denials, reach and its changes in words
checks.py     targets as people write them, and the `tests:` of a policy
command.py    what `sbx network proxy` changes
suggest.py    the smallest rules for what was seen
"""
