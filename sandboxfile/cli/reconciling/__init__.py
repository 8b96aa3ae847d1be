"""`sbx reconcile`: a loop on one host that makes sandboxes as a branch of a repository describes them.

    loop.py      turns, pauses, signals, the status file; knows nothing of what work is
    work.py      the work of a turn: fetch, check, plan, apply
    checking.py  a commit -> what it asks for: nothing of it is read from where an agent can write
    unit.py      the systemd user unit
    views.py     the status, for people

Nothing is ever written back into the repository, and nobody is asked: who may write to the branch (or sign for it)
decides, within --deny-widening. What a secret may be sent to has to have been approved here, by `sbx secret approve`.
"""
