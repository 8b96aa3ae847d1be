"""One process per running sandbox: owns its machine, its file servers, its main process; answers the control socket.

__main__    takes the lock, then:
runner      the process: signals, control socket, lock      requests   one answer per control message
sandbox     the work: boot, main process, stop, status      conductor  runs what `lifecycle` decides
lifecycle   the pure state machine                           executing  a client's command and its streams
workspaces  attach, detach, watch                            streams    the client's own descriptors
egress      the registration with the gateway                link       one connection to it
authority   the sandbox's own certificate authority          docker     waits for its Docker daemon
sessions    the agent's terminal, which outlives clients     agent      its settings and its binary inside
ports       ports of the host that lead inside               relaying   one connection of a caller
callbacks   ports that logins wait on, while somebody looks  terminal_modes  what has to be undone on leaving
scrollback  the end of a terminal's output, to be replayed   detach_keys  what somebody types to leave
health      whether it does its work, pure with a runner     checking   one run of its healthcheck inside
idle        when it goes to sleep, pure with a runner        news       wakes who waits for a change
"""
