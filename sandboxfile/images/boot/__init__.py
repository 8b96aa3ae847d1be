"""The platform: what every sandbox boots from, whatever its template. `platform.py` is the door."""
