"""The machine: QEMU's arguments, its jail, QMP, disks, file servers, the accelerator. Knows nothing of guests.

`launch.py` starts a machine and is the way in; `machine.py` is pure; `network.py` holds what the guest can reach.
`launcher.py` (with `rights.py`, `furnishing.py` and `opener.py`) and `share_launcher.py` are never imported: they run
as programs of their own, single-threaded and with the standard library only, because namespaces and capabilities
belong to a whole process.
"""
