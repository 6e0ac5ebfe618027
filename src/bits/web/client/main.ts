// Tie the page together: the state the server rendered, the connection that keeps it true, the view that shows it.

import { Outlook } from "./outlook";
import { Connection, type World } from "./socket";
import { reduce } from "./state";
import type { Snapshot } from "./types";
import { type Strings, View } from "./view";

function block<T>(id: string): T {
  return JSON.parse(document.getElementById(id)?.textContent ?? "null") as T;
}

if (document.getElementById("hero")) {
  const page = document.documentElement;
  const developer = "developer" in page.dataset;
  let state = block<Snapshot>("data");
  const view = new View(
    page.lang,
    page.dataset.timeZone ?? "UTC",
    block<Strings>("strings"),
    block<Record<string, string>>("sensor-names"),
  );
  const connection = new Connection(
    {
      setTimeout: (run, ms) => window.setTimeout(run, ms),
      clearTimeout: (timer) => window.clearTimeout(timer as number | undefined),
      random: () => Math.random(),
      WebSocket: WebSocket as unknown as World["WebSocket"],
      fetch: (url, options) => fetch(url, options),
    },
    location.origin,
    () => state.seq,
    (frame) => {
      if (developer) console.debug("bits", frame);
      if ("status" in frame) outlook.soon();
      state = reduce(state, frame);
      view.show(state);
    },
    (link) => {
      if (developer) console.debug("bits", link);
      view.link(link);
    },
  );
  const outlook = new Outlook();
  view.show(state);
  connection.start();
  addEventListener("online", () => connection.kick());
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState !== "visible") return;
    connection.kick();
    outlook.soon();
  });
  void view.addChart(() => state);
}
