"""The MAC detector at work: who is about, and telling the server."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from bits_fonera import fetch, this_device
from bits_fonera.clock import Now
from bits_fonera.config import Config
from bits_fonera.detector import Detector
from bits_fonera.net import READ, Exchange, Watch
from bits_fonera.spool import load_names, save_names
from bits_fonera.stations import Stations
from bits_fonera.visitors import Page

UPDATE_MS = 300_000  # the server at /macupdate forgets who is not named again


class Devices:
    """Who is about.

    Args:
        report: takes a line and its age in ms: a line of the miniprotocol.
    """

    def __init__(
        self, config: Config, watch: Watch, log: Callable[[str, str], None], report: Callable[[str, int, Now], bool]
    ) -> None:
        self._config = config
        self._watch = watch
        self._log = log
        self._report = report
        self._now = Now("", 0, 0)
        self._names = os.path.join(os.path.dirname(config.spool), "present")
        self._detector = Detector(config.mac_key, config.mac_arrive_after_ms, config.mac_leave_after_ms)
        self.stations = Stations(config.mac_interface, self._sighted, say=lambda text: log("warning", text))
        for opened, ready in self.stations.readers():
            watch.set(opened, READ, _ignoring_events(ready))
        self._next_scan_ms = 0
        self._next_update_ms = 0
        self._update: Exchange | None = None
        self._resumed = False
        self._page: Page | None = None
        if config.this_device_listen:
            self._open_page(config.this_device_listen)

    def begin_step(self, now: Now) -> None:
        """Know what time it is when sockets are read."""
        self._now = now

    def step(self, now: Now) -> None:
        """Look and tell, if it is time."""
        self._now = now
        if self._page:
            self._page.step(now)
        if self._config.mac_path == "off":
            return
        if not self._resumed:
            self._resumed = True
            self._detector.resume(load_names(self._names), now.ms)
        if now.ms >= self._next_scan_ms:
            self._next_scan_ms = now.ms + self._config.mac_scan_interval_ms
            self.stations.poll()
        if news := self._detector.due(now.ms):
            self._tell(news, now)
        if self._config.mac_path == "http":
            if self._update and not self._update.is_over and now.ms >= self._update.deadline_ms:
                self._update.end("no answer")
            if now.ms >= self._next_update_ms and (self._update is None or self._update.is_over):
                self._next_update_ms = now.ms + UPDATE_MS
                self._post(now)

    def next_due_ms(self) -> int | None:
        """When step() has something to do next, if nothing happens before."""
        due = [self._page.next_due_ms() if self._page else None]
        if self._config.mac_path != "off":
            due += [self._next_scan_ms, self._detector.next_due_ms]
        if self._config.mac_path == "http":
            under_way = self._update is not None and not self._update.is_over
            due.append(self._update.deadline_ms if self._update and under_way else self._next_update_ms)
        return min((ms for ms in due if ms is not None), default=None)

    def close(self) -> None:
        self.stations.close()
        if self._page:
            self._page.close()

    def _open_page(self, address: tuple[str, int]) -> None:
        key, url = self._config.mac_key, self._config.this_device_url

        def lookup(ip: str) -> str | None:
            mac = self.stations.lookup(ip)
            if mac and self._config.mac_path != "off":
                self._detector.arrive(mac, self._now.ms)
            return mac

        def answer(request: bytes, ip: str) -> bytes:
            return this_device.answer(request, ip, lookup, key, url, int(time.time()))

        try:
            self._page = Page(self._watch, address, answer)
        except OSError as error:
            self._log("warning", f"no page about this device at {address[0]} port {address[1]}: {error}")

    def _sighted(self, mac: str) -> None:
        try:
            self._detector.sighting(mac, self._now.ms)
        except ValueError as error:
            self._log("warning", str(error))

    def _tell(self, news: list[tuple[str, str, int]], now: Now) -> None:
        if self._config.mac_path == "miniprotocol":
            for kind, digest, age_ms in news:
                self._report(f"{kind} {digest}", age_ms, now)
        self._next_update_ms = now.ms
        try:
            save_names(self._names, self._detector.present())
        except OSError as error:
            self._log("warning", f"{self._names} cannot be written: {error}")

    def _post(self, now: Now) -> None:
        assert self._config.http
        macs = "[" + ",".join(f'"{name}"' for name in self._detector.present()) + "]"
        fields = {"password": self._config.mac_password, "macs": macs}
        request = fetch.post_form(self._config.http, "/macupdate", fields)
        self._update = Exchange(self._watch, self._config.http, request, now, self._posted)

    def _posted(self, answer: bytes, error: str) -> None:
        try:
            status = 0 if error else fetch.parse(answer)[0]
        except ValueError as wrong:
            error, status = str(wrong), 0
        if error or status >= 300:
            self._log("warning", f"/macupdate failed: {error or status}")


def _ignoring_events(ready: Callable[[], None]) -> Callable[[int], None]:
    return lambda _: ready()
