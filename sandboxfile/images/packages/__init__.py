"""Debian and Ubuntu suites as origins: debian.py is the door; mmdebstrap.py makes, sources.py finds, pins.py locks."""
