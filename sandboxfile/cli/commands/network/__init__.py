"""What sandboxes reached and what was blocked; rules typed on the command line, which count at once."""

COMMANDS = {
    "log": "show what sandboxes reached, and what was blocked",
    "summary": "count what sandboxes reached, by host and verdict",
    "proxy": "change what a sandbox may reach, at once",
}
