// The page as an app: let the browser have the worker, and tell it what was last heard, for when there is no connection.

import type { Snapshot } from "./types";

const STATE = "bits-state"; // where worker.ts looks for it
const WRITE_MS = 1000; // at most so often

let newest: { at: number; state: Snapshot } | undefined;
let timer: number | undefined;

/** Take note of what the server has just told: what the page shows is no old copy any more. */
export function keep(state: Snapshot): void {
  document.getElementById("kept")?.setAttribute("hidden", "");
  newest = { at: Date.now(), state };
  if (navigator.serviceWorker?.controller) timer ??= window.setTimeout(() => void write(), WRITE_MS);
}

async function write(): Promise<void> {
  clearTimeout(timer);
  timer = undefined;
  try {
    await (await caches.open(STATE)).put("/", new Response(JSON.stringify(newest)));
  } catch {
    // No room, or not allowed: then there is an older copy, or none.
  }
}

if ("offline" in document.documentElement.dataset && "serviceWorker" in navigator) {
  addEventListener("pagehide", () => timer !== undefined && void write());
  // After the page: it must not wait for what is only for later.
  const register = (): void => {
    navigator.serviceWorker.register("/worker.js", { updateViaCache: "none" }).catch(() => {
      // The browser does not want it (private windows): the page works without.
    });
  };
  if (document.readyState === "complete") register();
  else addEventListener("load", register);
}
