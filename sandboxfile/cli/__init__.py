"""The command line: reads arguments, calls `pipeline`, shows what comes back.

`main.py` has the table of verbs and is the only one that exits; `commands/<verb>.py` is imported when its verb is
chosen (`network`, `policy` and `template` are packages of such modules); `views/` turns values into text; `editing.py`
is the only one that writes a user's file; what the API does as well (`renaming.py`) asks nobody. Standard output is
data, standard error is talk. Nothing here decides what is done to a sandbox.
"""
