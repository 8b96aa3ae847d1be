"""Carrying a plan out. The executor decides nothing; the drivers do one effect each, and again is as good as once.

executor.py  the graph of steps: order, parallelism, what a failure skips
drivers.py   the operations on this host
machines.py  starting, stopping and asking supervisors
storage.py   making and deleting a sandbox's directory
journal.py   what an apply was doing when it was killed
"""
