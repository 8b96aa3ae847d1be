"""`SandboxFile` and facts about this host to `DesiredState`. Pure: the facts are gathered before, by `host.inputs`."""
