"""Tornado: write_message to each in a loop, as BITS of 2011 did."""

import asyncio

import uvloop
from common import FIRST, arguments, control
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler

clients: set["Client"] = set()


class Client(WebSocketHandler):
    async def open(self) -> None:
        await self.write_message(FIRST)
        clients.add(self)

    def on_close(self) -> None:
        clients.discard(self)

    def check_origin(self, origin: str) -> bool:
        return True


class Status(RequestHandler):
    def get(self) -> None:
        self.write("0")


def broadcast(text: str) -> None:
    for client in clients:
        client.write_message(text)


async def main() -> None:
    port, control_port = arguments()
    Application([("/ws", Client), ("/status", Status)], log_function=lambda handler: None).listen(
        port, "127.0.0.1", backlog=65535
    )
    await control(control_port, broadcast)
    print("ready", flush=True)
    await asyncio.Event().wait()


uvloop.run(main())
