"""websockets, with its own broadcast()."""

import uvloop
from common import FIRST, arguments, control
from websockets.asyncio.server import ServerConnection, broadcast, serve

clients: set[ServerConnection] = set()


async def handle(client: ServerConnection) -> None:
    await client.send(FIRST)
    clients.add(client)
    try:
        await client.wait_closed()
    finally:
        clients.discard(client)


async def main() -> None:
    port, control_port = arguments()
    async with (
        serve(handle, "127.0.0.1", port, backlog=65535, compression=None, ping_interval=None),
        await control(control_port, lambda text: broadcast(clients, text)) as server,
    ):
        print("ready", flush=True)
        await server.serve_forever()


uvloop.run(main())
