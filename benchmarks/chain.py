"""From the button to the browser: how long a press on the board takes to change a page.

The whole chain of tests/chain.py, on this machine: the board's program in QEMU, its UART, the bridge, WireGuard in user
space, the server with its log on disk, Chromium. The time is from the release of the button, which is when a press
counts, to the change of the page's text; the board's own debouncing is part of it. Needs root.

    python -m benchmarks.chain --presses 200
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.chain import WATCH, Chain, percentile, started


def main() -> None:
    parser = argparse.ArgumentParser(description="Time presses from the button to the browser.")
    parser.add_argument("--presses", type=int, default=200)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Chain(Path(folder)) as chain, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chain.chromium("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        started(chain)
        page.goto(chain.url)
        page.wait_for_selector("#link[data-link=live]")
        page.evaluate(WATCH)
        taken = chain.measure(page, chosen.presses)
        browser.close()
    shown = ", ".join(f"p{share:g} {percentile(taken, share / 100) * 1000:.1f} ms" for share in (50, 90, 99, 100))
    print(f"{len(taken)} presses, button to browser: {shown}")


if __name__ == "__main__":
    main()
