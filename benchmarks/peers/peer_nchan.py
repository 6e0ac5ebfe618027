"""nginx with nchan, and a small adaptor that posts each line to it."""

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from common import arguments, control

CONFIG = """
daemon off;
master_process off;
worker_rlimit_nofile {files};
pid {folder}/nginx.pid;
error_log {folder}/error.log;
{modules}
events {{ worker_connections {connections}; multi_accept off; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    nchan_shared_memory_size 256M;
    server {{
        listen 127.0.0.1:{port} backlog=65535 deferred;
        location = /ws {{ nchan_subscriber websocket; nchan_channel_id all; nchan_subscriber_first_message oldest; }}
        location = /pub {{ nchan_publisher; nchan_channel_id all; nchan_message_buffer_length 1; }}
        location = /status {{ default_type text/plain; add_header Cache-Control no-cache; return 200 "0"; }}
        location = /data {{ add_header ETag '"x"'; return 304; }}
    }}
}}
"""


async def main() -> None:
    port, control_port = arguments()
    modules = "".join(
        f"load_module {path};\n" for path in sorted(Path("/usr/lib/nginx/modules").glob("ng*_nchan_module.so"))
    )
    if not modules:
        sys.exit("nchan is not installed: apt install libnginx-mod-nchan")
    with tempfile.TemporaryDirectory() as folder:
        files = int(subprocess.run(["sh", "-c", "ulimit -Hn"], capture_output=True, text=True, check=True).stdout)
        config = CONFIG.format(folder=folder, modules=modules, port=port, files=files, connections=files - 100)
        Path(folder, "nginx.conf").write_text(config)
        nginx = await asyncio.create_subprocess_exec("nginx", "-c", f"{folder}/nginx.conf", "-p", folder)

        async def post(text: str) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            body = text.encode()
            writer.write(
                b"POST /pub HTTP/1.1\r\nHost: peer\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
                % (len(body), body)
            )
            await reader.read()
            writer.close()

        for _ in range(100):
            try:
                await post('{"version":3}')
                break
            except OSError:
                await asyncio.sleep(0.05)
        await control(control_port, post)
        print("ready", flush=True)
        try:
            await nginx.wait()
        finally:
            if nginx.returncode is None:
                nginx.terminate()


if __name__ == "__main__":
    os.environ.setdefault("PATH", "/usr/sbin:/usr/bin")
    asyncio.run(main())
