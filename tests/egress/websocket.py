"""A WebSocket that says everything back, text as text and bytes as bytes."""

import base64
import hashlib

from anyio.abc import ByteStream
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

from .messages import Incoming

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3


async def echo(incoming: Incoming, stream: ByteStream) -> None:
    """Accept the upgrade and answer until the client closes. A message comes back in the pieces in which it came."""
    digest = hashlib.sha1((incoming.header("sec-websocket-key") + _GUID).encode()).digest()
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}",
    ]
    await stream.send("\r\n".join([*lines, "", ""]).encode())
    connection = Connection(ConnectionType.SERVER)
    async for data in stream:
        connection.receive_data(data)
        for event in connection.events():
            if isinstance(event, TextMessage):
                await stream.send(
                    connection.send(TextMessage(event.data, event.frame_finished, event.message_finished))
                )
            elif isinstance(event, BytesMessage):
                said = BytesMessage(bytes(event.data), event.frame_finished, event.message_finished)
                await stream.send(connection.send(said))
            elif isinstance(event, Ping):
                await stream.send(connection.send(event.response()))
            elif isinstance(event, CloseConnection):
                await stream.send(connection.send(event.response()))
                return
