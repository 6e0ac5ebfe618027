"""Sanic's own WebSocket: send to each in a loop; and a handler that answers /status."""

from common import FIRST, arguments, control
from sanic import HTTPResponse, Request, Sanic, Websocket
from sanic.response import text

port, control_port = arguments()
app = Sanic("peer", configure_logging=False)
app.config.ACCESS_LOG = False
app.config.WEBSOCKET_PING_INTERVAL = 0
clients: set[Websocket] = set()


@app.websocket("/ws")
async def handle(_request: Request, client: Websocket) -> None:
    await client.send(FIRST)
    clients.add(client)
    try:
        async for _ in client:
            pass
    finally:
        clients.discard(client)


@app.get("/status")
async def status(_request: Request) -> HTTPResponse:
    return text("0", headers={"Cache-Control": "no-cache", "Access-Control-Allow-Origin": "*"})


@app.get("/data")
async def data(_request: Request) -> HTTPResponse:
    return HTTPResponse(status=304, headers={"Cache-Control": "no-cache", "ETag": '"x"'})


async def broadcast(message: str) -> None:
    for client in list(clients):
        await client.send(message)


@app.after_server_start
async def started(app: Sanic) -> None:
    await control(control_port, broadcast)
    print("ready", flush=True)


app.run("127.0.0.1", port, single_process=True, motd=False, access_log=False, backlog=65535)
