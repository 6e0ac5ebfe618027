// A connection in a real page: its clock and network, what happens to a page in its life, and the button to pause it.

import { Connection, type World } from "./socket";
import type { Times } from "./transports";
import type { Frame, Link, Snapshot } from "./types";

const world: World = {
  setTimeout: (run, ms) => window.setTimeout(run, ms),
  clearTimeout: (timer) => window.clearTimeout(timer as number | undefined),
  random: () => Math.random(),
  WebSocket: WebSocket as unknown as World["WebSocket"],
  fetch: (url, options) => fetch(url, options),
};

/** Connect the page to its server, for as long as it is there. Arguments: those of Connection. */
export function connect(
  since: () => number | undefined,
  onFrame: (frame: Frame | Snapshot) => void,
  onLink: (link: Link, transport: string) => void,
): Connection {
  const page = document.documentElement;
  const times = JSON.parse(page.dataset.times ?? "{}") as Partial<Times>; // for tests, which are in a hurry
  const connection = new Connection(world, location.origin, since, onFrame, onLink, times);
  const kick = (): void => connection.kick();
  addEventListener("online", kick);
  addEventListener("offline", kick);
  document.addEventListener("resume", kick); // was frozen
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") kick();
  });
  // A page with an open connection would not be kept for the button Back.
  addEventListener("pagehide", () => connection.pause("hidden"));
  addEventListener("pageshow", () => connection.resume("hidden"));
  addPauseButton(connection);
  connection.start();
  return connection;
}

function addPauseButton(connection: Connection): void {
  const button = document.getElementById("pause");
  if (!button) return;
  button.hidden = false;
  let paused = false;
  button.addEventListener("click", () => {
    paused = !paused;
    if (paused) connection.pause();
    else connection.resume();
    const other = button.dataset.other!;
    button.dataset.other = button.textContent!;
    button.textContent = other;
  });
}
