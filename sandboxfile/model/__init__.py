"""Data only: what a file may say, what is wanted, what is there, what will be done, what happened.

Frozen types without behaviour beyond printing themselves. No I/O, no clock, no randomness.
"""
