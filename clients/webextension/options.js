// Where the server is, and what to tell of it.

import { isSnapshot, toOrigin, toPattern } from "./space.js";
import { text, translate } from "./words.js";

/** @returns {any} */
const at = (id) => document.getElementById(id);

async function check(origin) {
  let data;
  try {
    const answer = await fetch(`${origin}/data`, { cache: "no-store", credentials: "omit", signal: AbortSignal.timeout(15_000) });
    data = await answer.json();
  } catch (error) {
    throw new Error(error instanceof SyntaxError ? "address_no_bits" : "address_silent");
  }
  if (!isSnapshot(data)) throw new Error("address_no_bits");
}

/** Give back the permission for a server that is not the one in use. */
async function forget(origin, inUse) {
  if (!origin || (inUse && toPattern(origin) === toPattern(inUse))) return;
  await chrome.permissions.remove({ origins: [toPattern(origin)] }).catch(() => {}); // given by whoever installed us
}

async function save() {
  const origin = toOrigin(at("address").value);
  // First of all that waits: browsers ask only in answer to a click.
  if (!(await chrome.permissions.request({ origins: [toPattern(origin)] }))) throw new Error("address_refused");
  const before = (await chrome.storage.local.get({ origin: "" })).origin;
  try {
    await check(origin);
  } catch (error) {
    await forget(origin, before);
    throw error;
  }
  const notify = { notify_open: at("notify_open").checked, notify_closed: at("notify_closed").checked };
  await chrome.storage.local.set({ origin, ...notify });
  await forget(before, origin);
  at("address").value = origin;
}

at("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  at("saved").textContent = "";
  let problem = "";
  try {
    await save();
    at("saved").textContent = text("saved");
  } catch (error) {
    problem = text(error.message);
    at("address").focus();
  }
  at("error").textContent = problem;
  at("error").hidden = !problem;
  at("address").setAttribute("aria-invalid", String(Boolean(problem)));
});

translate(document);
const settings = await chrome.storage.local.get({ origin: "", notify_open: true, notify_closed: false });
at("address").value = settings.origin;
at("notify_open").checked = settings.notify_open;
at("notify_closed").checked = settings.notify_closed;
