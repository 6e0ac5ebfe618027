"""What a page costs: Lighthouse's scores, the bytes of the first view, the server's CPU for each request.

python -m benchmarks.page
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, sync_playwright

from benchmarks.forecast import fill
from tests.conftest import Server, history, wait_until

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
LIGHTHOUSE = "lighthouse@13.4.1"
PAGES = ("/", "/log", "/data", "/status")


def cpu_seconds(pid: int) -> float:
    """What a process has used so far, with its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cost(server: Server, path: str, requests: int) -> float:
    """Return the server's CPU for a request of a page, in milliseconds: one connection, one request after the other."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=10)
    headers = {"Accept": "text/html", "Accept-Encoding": "gzip", "Accept-Language": "it,en;q=0.5"}

    def ask(times: int) -> None:
        for _ in range(times):
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200

    ask(20)
    before = cpu_seconds(server.process.pid)
    ask(requests)
    spent = cpu_seconds(server.process.pid) - before
    connection.close()
    return spent / requests * 1000


def first_view(browser: Browser, url: str) -> list[tuple[str, int]]:
    """Return what comes over the wire until the page is at rest: each answer's kind, and its bytes as they come."""
    page = browser.new_page()
    session = page.context.new_cdp_session(page)
    kinds: dict[str, str] = {}
    sizes: list[tuple[str, int]] = []

    def finished(event: dict[str, Any]) -> None:
        sizes.append((kinds.get(event["requestId"], ""), int(event["encodedDataLength"])))

    session.on("Network.responseReceived", lambda event: kinds.update({event["requestId"]: event["type"]}))
    session.on("Network.loadingFinished", finished)
    session.send("Network.enable")
    page.goto(url)
    page.wait_for_selector("#chart .uplot")
    page.wait_for_load_state("load")
    page.close()
    return sizes


def lighthouse(url: str, chromium: str) -> dict[str, float]:
    """Return the scores of the mobile profile, of 100."""
    run = subprocess.run(
        [
            "npx",
            "--yes",
            LIGHTHOUSE,
            url,
            "--quiet",
            "--output=json",
            f"--chrome-flags=--headless=new {' '.join(FLAGS)}",
        ],
        env=os.environ | {"CHROME_PATH": chromium},
        capture_output=True,
        text=True,
        check=True,
    )
    report: dict[str, Any] = json.loads(run.stdout)
    return {category["id"]: round(100 * category["score"], 1) for category in report["categories"].values()}


def main() -> None:
    parser = argparse.ArgumentParser(description="What a page costs.")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        uri = f"sqlite:///{folder}/full.db"
        asyncio.run(fill(uri, history()))
        server = Server(Path(folder), db_uri=uri, time_zone="Europe/Rome", stale_after="0").start()
        try:
            server.say("temperature 0 21.5", "temperature 1 8", "message Q2lhbw==", "enter 1", "status 1")
            wait_until(lambda: server.metric("forecasts_total"), "a forecast")
            for path in PAGES:
                print(f"{path:8} {cost(server, path, chosen.requests):6.3f} ms of CPU a request")
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=chosen.chromium, args=FLAGS)
                answers = first_view(browser, server.url + "/")
                browser.close()
            print(f"first view: {sum(size for _, size in answers) / 1000:.1f} kB in {len(answers)} answers")
            for name, score in lighthouse(server.url + "/", chosen.chromium).items():
                print(f"lighthouse {name}: {score:g}")
        finally:
            server.stop()


if __name__ == "__main__":
    main()
