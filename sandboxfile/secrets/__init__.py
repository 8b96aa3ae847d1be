"""Values of secrets on this host: read where they are kept, checked, and never written anywhere else.

The only package that holds values besides the gateway. No exception, no representation and no log line has one.

values.py    what can be used as a value at all, and the error of this package
sources.py   the value that a source (variable, file, command, store) gives now
commands.py  what a command of the user's prints, bounded in time and bytes
store.py     what `sbx secret set` keeps, and the index of it
keyring.py   the only door to the desktop's keyring
tags.py      whether a value is still the same, without the value
needs.py     which credentials of a sandbox cannot be had
"""
