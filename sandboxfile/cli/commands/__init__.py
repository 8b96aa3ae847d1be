"""One module per verb: `register(parser)` declares its arguments, `run(args, console)` does it, gives the exit code."""
