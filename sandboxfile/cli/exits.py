"""Exit codes of `sbx`: part of its public surface, listed in `sbx --help` and the README."""

OK = 0
FAILED = 1
CHANGES = 2
DRIFT = 2
BLOCKED = 2
WIDENS = 3
USAGE = 64
BUG = 70
EXEC_FAILED = 125
INTERRUPTED = 130

MEANINGS: tuple[tuple[int, str], ...] = (
    (OK, "done"),
    (FAILED, "the file is wrong, a step failed, or the host or a sandbox did"),
    (CHANGES, "`plan --detailed-exitcode`: changes; `drift`: drift; `policy explain`: blocked; `review`: findings"),
    (WIDENS, "`--deny-widening`: something may do more than before; nothing was changed"),
    (USAGE, "wrong arguments"),
    (BUG, "a bug in sandboxfile"),
    (EXEC_FAILED, "`exec`, `shell`, `run`, `attach`: sbx itself failed; every other code is that of what ran inside"),
    (INTERRUPTED, "interrupted with Ctrl-C"),
)
