"""socketify, which is uWebSockets: its own publish to a topic."""

import socket
import threading

from common import FIRST, arguments, frame
from socketify import App, AppListenOptions, CompressOptions, OpCode

port, control_port = arguments()
app = App()


def opened(client: object) -> None:
    client.subscribe("all")  # type: ignore[attr-defined]
    client.send(FIRST, OpCode.TEXT)  # type: ignore[attr-defined]


app.ws("/ws", {"compression": CompressOptions.DISABLED, "idle_timeout": 0, "open": opened})
app.get("/status", lambda response, request: response.end("0"))


def obey() -> None:
    """Take lines in a thread; the loop's own does the publishing."""
    seq = 0
    with socket.create_server(("127.0.0.1", control_port)) as server:
        while True:
            bridge, _ = server.accept()
            for line in bridge.makefile("rb"):
                seq += 1
                text = frame(line, seq)
                app.loop.loop.call_soon_threadsafe(app.publish, "all", text, OpCode.TEXT)


threading.Thread(target=obey, daemon=True).start()
app.listen(AppListenOptions(port=port, host="127.0.0.1"), lambda config: print("ready", flush=True))
app.run()
