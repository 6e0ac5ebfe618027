// What is known, in a small window; it changes while it is open.

import { valueOf } from "./space.js";
import { degrees, moment, people, text, translate } from "./words.js";

const MARKS = { open: "●", closed: "■", away: "▲", unknown: "?" };
/** @returns {any} */
const at = (id) => document.getElementById(id);

/** Show a row of the list, or hide it where there is nothing to tell. */
function row(id, words) {
  at(id).textContent = words ?? "";
  at(id).hidden = at(id).previousElementSibling.hidden = !words;
}

async function show() {
  const { origin } = await chrome.storage.local.get({ origin: "" });
  const { state, reachable } = await chrome.storage.session.get({ state: null, reachable: false });
  const value = reachable ? valueOf(state) : "unknown";
  at("head").dataset.value = value;
  at("mark").textContent = MARKS[value];
  at("status").textContent = text(value);
  const status = value === "unknown" ? undefined : state.status;
  at("since").textContent = status ? [text("since_when", moment(status.timestamp)), status.note].filter(Boolean).join(" · ") : "";
  // What was last heard is shown while the server is away, too, with the time it was heard.
  row("temperature", state?.sensors?.map((each) => `${degrees(each.value)} (${moment(each.timestamp)})`).join("\n"));
  row("people", reachable && state?.people ? [people(state.people.count), ...(state.people.names ?? [])].join("\n") : "");
  row("message", state?.message && `${state.message.value}\n${state.message.user}, ${moment(state.message.timestamp)}`);
  at("nothing").textContent = origin ? text("unreachable") : text("not_set_up");
  at("nothing").hidden = Boolean(origin) && reachable;
  at("page").hidden = !origin;
  if (origin) at("page").href = origin;
}

translate(document);
at("settings").addEventListener("click", () => chrome.runtime.openOptionsPage());
chrome.storage.onChanged.addListener(show);
show();
chrome.runtime.sendMessage("look").catch(() => {}); // the worker may be starting: it looks by itself then
