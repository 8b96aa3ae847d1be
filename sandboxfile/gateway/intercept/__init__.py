"""Looks into what a sandbox sends over HTTP and TLS: each request is decided before a byte of it goes out.

The only door to mitmproxy, of which it uses the HTTP layers alone: no listener, no add-on, no master, no option store,
and nothing is written to disk. TLS is the standard library's, over memory. Whatever raises here ends its connection.

    interceptor   the way in: CONNECT, absolute-form, or what a client dialled itself; TLS with the client
    certificates  leaf certificates of a sandbox's own authority, in memory
    tls           TLS to both sides, and the authorities that upstream servers are held to
    links         a connection as mitmproxy sees it: plain or TLS bytes, reading held back while nothing may be taken
    reading       pure: what a request head says, in one reading or none
    deciding      whether all names of a request as mitmproxy has it agree, and what is forwarded of it
    injecting     pure: credentials in a request, and what of a response may not repeat them
    supplying     gets their values, or says why there are none; fails closed
    verdicts      what becomes of a request: the policy, credentials, the log
    connection    one client: its exchanges, its upstream connections, cutting, failing closed
    pool          which upstream connection an exchange gets, and memory bounds between HTTP/2 and anything else
    exchange      one request and its response, streamed both ways
    http1, http2  mitmproxy's protocols, made strict and bounded
"""

from sandboxfile.gateway.intercept.interceptor import Interceptor

__all__ = ["Interceptor"]
