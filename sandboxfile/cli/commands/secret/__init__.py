"""Keep secrets on this host, and say which hosts may get them. No command shows a value, or takes one as a word."""

COMMANDS = {
    "set": "keep a secret, from a hidden prompt or standard input",
    "ls": "list secrets: where each is, who uses it, which hosts may get it",
    "rm": "delete stored secrets, with what was approved for them",
    "approve": "let a secret of the sandbox file go to its hosts",
}
