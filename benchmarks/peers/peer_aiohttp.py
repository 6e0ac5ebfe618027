"""aiohttp: send_str to each in a loop."""

import asyncio

import uvloop
from aiohttp import web
from common import FIRST, arguments, control

clients: set[web.WebSocketResponse] = set()


async def handle(request: web.Request) -> web.WebSocketResponse:
    client = web.WebSocketResponse(compress=False)
    await client.prepare(request)
    await client.send_str(FIRST)
    clients.add(client)
    try:
        async for _ in client:
            pass
    finally:
        clients.discard(client)
    return client


async def broadcast(text: str) -> None:
    for client in list(clients):
        await client.send_str(text)


async def status(_request: web.Request) -> web.Response:
    return web.Response(text="0", headers={"Cache-Control": "no-cache"})


async def main() -> None:
    port, control_port = arguments()
    app = web.Application()
    app.router.add_get("/ws", handle)
    app.router.add_get("/status", status)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=65535).start()
    await control(control_port, broadcast)
    print("ready", flush=True)
    await asyncio.Event().wait()


uvloop.run(main())
