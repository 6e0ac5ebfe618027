"""The emulated board in this terminal, and the router's bridge between it and a server: what `make board` runs.

Without a key the bridge speaks version 1 of the miniprotocol, which any server that allows this address understands.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
SETTINGS = """\
server = "{server}"
http = "{http}"
bridge = "{bridge}"
serial = "unix:{folder}/board"
spool = "{folder}/spool"
"""


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the emulated board, and the bridge between it and a server.")
    parser.add_argument("--server", default="127.0.0.1:8888", help="the miniprotocol (default: %(default)s)")
    parser.add_argument("--http", default="127.0.0.1:8008", help="the pages, for the clock (default: %(default)s)")
    parser.add_argument("--bridge", default="board", help="name of the bridge (default: %(default)s)")
    parser.add_argument("--key", help="its key, as in the server's bridge_keys: version 2, with which nothing is lost")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bits-board-") as name:
        folder = Path(name)
        settings = SETTINGS.format(folder=folder, server=chosen.server, http=chosen.http, bridge=chosen.bridge)
        settings += f'key = "{chosen.key}"\n' if chosen.key else 'protocol = "1"\n'
        (folder / "bridge.toml").touch(0o600)
        (folder / "bridge.toml").write_text(settings)
        with (folder / "bridge.log").open("wb") as log:
            bridge = subprocess.Popen(
                [sys.executable, "-m", "bits_fonera", "--foreground", "--config", str(folder / "bridge.toml")],
                env={**os.environ, "PYTHONPATH": str(ROOT / "fonera")},
                stderr=log,
            )
        try:
            panel = [sys.executable, str(ROOT / "firmware/bits_panel.py"), "--bridge-socket", str(folder / "board")]
            code = subprocess.call(panel)
        finally:
            bridge.terminate()
            bridge.wait()
        log_lines = (folder / "bridge.log").read_text()
    sys.stderr.write(f"\nWhat the bridge said:\n{log_lines}")
    return code


if __name__ == "__main__":
    sys.exit(main())
