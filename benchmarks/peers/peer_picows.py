"""picows: a listener object for each client, its transport's send in a loop."""

import uvloop
from common import FIRST, arguments, control
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

clients: set[WSTransport] = set()


class Client(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        clients.add(transport)
        transport.send(WSMsgType.TEXT, FIRST.encode())

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        pass

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        clients.discard(transport)


def broadcast(text: str) -> None:
    data = text.encode()
    for client in clients:
        client.send(WSMsgType.TEXT, data)


async def main() -> None:
    port, control_port = arguments()

    def listener(request: WSUpgradeRequest) -> WSListener:
        return Client()

    server = await ws_create_server(listener, "127.0.0.1", port, backlog=65535)
    await control(control_port, broadcast)
    print("ready", flush=True)
    await server.serve_forever()


uvloop.run(main())
