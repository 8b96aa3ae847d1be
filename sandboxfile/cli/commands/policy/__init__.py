"""What sandboxes may reach, and why. Nothing here changes a sandbox."""

COMMANDS = {
    "show": "show the rules that hold for a sandbox, and where they come from",
    "explain": "say whether a sandbox may reach something, and why",
    "test": "run the tests of the file's policies",
    "suggest": "propose the rules for what was blocked, as a patch",
}
