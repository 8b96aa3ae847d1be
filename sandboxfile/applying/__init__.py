"""Carrying a plan out. The executor decides nothing; the drivers do one effect each, and again is as good as once.

executor.py       the graph of steps: order, parallelism, what a failure skips
drivers.py        the operations on this host
machines.py       starting, stopping and asking supervisors
storage.py        making and deleting a sandbox's directory
journal.py        what an apply was doing when it was killed
following.py      after a rename: the records of those that wait for the sandbox

building.py       a template's recipe becomes an image: read this first
steps.py          the steps of a build; package_steps.py their commands
build_sandbox.py  the machine that steps run in
saving.py         a sandbox becomes a template
exporting.py      what has changed inside becomes a layer
inside.py         commands inside, and what they print
traffic.py        what a machine was not allowed to reach
"""
