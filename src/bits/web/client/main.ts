// Tie the page together: the state the server rendered, the connection that keeps it true, the view that shows it.

import { keep } from "./install";
import { Outlook } from "./outlook";
import { connect } from "./page";
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
  const outlook = new Outlook();
  view.show(state);
  connect(
    () => state.seq,
    (frame) => {
      if (developer) console.debug("bits", frame);
      if ("status" in frame) outlook.soon();
      state = reduce(state, frame);
      keep(state);
      view.show(state);
    },
    (link, transport) => {
      if (developer) console.debug("bits", link, transport);
      if (outlook.paused) outlook.soon();
      outlook.paused = link === "paused";
      view.link(link, transport);
    },
  );
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") outlook.soon();
  });
  void view.addChart(() => state);
}
