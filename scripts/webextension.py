"""Pack the browser extension for Chromium's and Firefox's shops: `scripts/webextension.py [FOLDER]`, by default dist/.

The same files give the same bytes, on every machine.
"""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "clients" / "webextension"
SHIPPED = {".css", ".html", ".js", ".json", ".png"}
NEVER = 1980, 1, 1, 0, 0, 0  # zip knows nothing earlier


def pack(folder: Path) -> Path:
    """Write the archive into a folder, and return its path."""
    version = json.loads((SOURCE / "manifest.json").read_bytes())["version"]
    archive = folder / f"bits-webextension-{version}.zip"
    files = {file.relative_to(SOURCE).as_posix(): file for file in SOURCE.rglob("*") if file.suffix in SHIPPED}
    del files["jsconfig.json"]  # the compiler's, which only checks
    files["LICENSE"] = ROOT / "LICENSE"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as packed:
        for name, file in sorted(files.items()):
            entry = zipfile.ZipInfo(name, NEVER)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # or it would tell on what it was packed
            entry.external_attr = 0o644 << 16
            packed.writestr(entry, file.read_bytes())
    return archive


if __name__ == "__main__":
    print(pack(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist"))
