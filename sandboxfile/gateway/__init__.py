"""One process per user: everything that sandboxes reach goes through it, and meets their policy here.

Supervisors register their sandbox over a control socket and hand over its listening sockets; when such a connection
ends, so does all egress of that sandbox. Security decisions fail closed, also when this code raises.

__main__       takes the lock, then:
runner         the process: listens, lives as long as it is needed
registrations  one connection, one sandbox: policy, listeners, their end
tenant         one sandbox: decides, dials, logs; cuts what a new policy denies
values         of the credentials of one sandbox              sources        those that this host keeps
log, records   the network log on disk, and what a line of it holds
resolver       names to addresses on this host               overrides      what its operator says instead
upstream       connections out, directly or by proxy          slots          how many connections there may be
acceptor       connections of one sandbox, to:
explicit       the proxy that programs are told of            head           CONNECT, parsed
transparent    ports that are dialled by address              hello          TLS hellos, parsed
choosing       tunnel, interceptor, or nobody                 reading        first bytes, bounded
passage        one connection through the raw path            tunnel         bytes both ways, untouched
interception   loads the interceptor beside everything else   intercept/     looks inside: HTTP and TLS (mitmproxy)
streams        a bare socket as asyncio streams
names          the name server inside                         dns            its messages
addresses      which name each address of 198.18.0.0/15 stands for
"""
