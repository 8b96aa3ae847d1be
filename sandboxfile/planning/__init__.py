"""The planner: what is wanted and what is there, to what will be done. Pure, total, deterministic; asks nobody.

changes.py   which fields of one sandbox differ, and what each costs: live, restart or replace
sandbox.py   the changes and steps of one sandbox
project.py   `plan`: all sandboxes of a project, the images they need, orphans, refusals
selection.py which sandboxes of the file are meant: names, profiles, what they depend on
ordering.py  the steps of all in one order, as `depends_on` asks
mounts.py    the volumes of one sandbox; volumes.py: those of the project, and who passes one on to whom
fit.py       whether this host can do it: memory, room, programs (tools.py)
verbs.py     start, stop, restart, remove, another policy: planned from what is there alone
checkpoints.py copies of the disks that a plan puts at risk, before it
rollback.py  the way back to how a project was before an apply
snapshot.py  what the steps of a plan rest on, and what of that has moved
saved.py     a plan as a sealed file
drift.py     what moved away from what was applied
trusting.py  which files an agent could have written since somebody approved them
renaming.py  what another name changes in others
widening.py  by which something may do more than before, or less
comparing.py how what one file asks for differs from what another one does
render.py    a plan as text and as JSON; markdown.py: as a comment on a pull request
"""

from sandboxfile.planning.project import plan
from sandboxfile.planning.snapshot import observation_fingerprint
from sandboxfile.planning.verbs import plan_policy, plan_verb

__all__ = ["observation_fingerprint", "plan", "plan_policy", "plan_verb"]
