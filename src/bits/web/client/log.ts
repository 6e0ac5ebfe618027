// The history's newest page: what has happened since it was loaded appears on top. The rows are the server's own, in
// its words; that there are new ones is heard from the live stream.

import { connect } from "./page";
import type { Frame, Snapshot } from "./types";

// What of a frame tells of new entries of each kind.
const TELLING: Record<string, readonly string[]> = {
  status: ["status"],
  temperature: ["tempint"],
  message: ["message"],
  sound: ["sound"],
  announcement: ["announced"],
  people: ["people"],
};
const ROWS = 500; // on the page, at most: beyond these it begins anew
const SOON_MS = 1_000; // readers ask at times of their own, and once for all that has come meanwhile

function one<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

const live = document.getElementById("live");
if (live) {
  const news = one("news");
  const kind = live.dataset.kind ?? "";
  const telling = TELLING[kind] ?? Object.values(TELLING).flat();
  let seq = Number(live.dataset.seq);
  let timer: number | undefined;
  let paused = false;
  let missed = false; // was asked for before the pause, and came after it began

  const refresh = async (): Promise<void> => {
    timer = undefined;
    const answer = await fetch(location.href, { cache: "no-cache" });
    if (!answer.ok || (missed = paused)) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const body = one("entries");
    const rows = [...fresh.querySelectorAll<HTMLTableRowElement>("#entries tr")];
    const id = (row: Element): string => row.firstElementChild?.id ?? "";
    const added = rows.filter((row) => !document.getElementById(id(row)));
    if (!added.length) return;
    // A reader who has scrolled down keeps what is being read where it is.
    const scrolled = body.getBoundingClientRect().top < 0;
    const height = body.offsetHeight;
    if (added.length === rows.length || body.children.length + added.length > ROWS) {
      // There may be more between what is there and what is new: begin anew.
      body.replaceChildren(...rows);
      const pager = fresh.querySelector(".pages");
      if (pager) document.querySelector(".pages")?.replaceWith(pager);
    } else {
      let next = body.firstElementChild;
      for (const row of rows) {
        const known = document.getElementById(id(row))?.parentElement;
        if (known) next = known.nextElementSibling;
        else body.insertBefore(row, next);
      }
      if (scrolled) scrollBy({ top: body.offsetHeight - height, behavior: "instant" });
    }
    body.parentElement?.removeAttribute("hidden");
    document.getElementById("nothing")?.remove();
    const text = (added.length === 1 ? news.dataset.one : news.dataset.many) ?? "";
    news.textContent = text.replace("{count}", String(added.length));
  };
  const soon = (): void => {
    timer ??= window.setTimeout(() => void refresh().catch(() => undefined), SOON_MS * Math.random());
  };
  connect(
    () => seq,
    (frame: Frame | Snapshot) => {
      // A snapshot comes instead of what was missed, and a frame with "stale" is no event.
      if (frame.seq > seq && (frame.version !== undefined || telling.some((part) => part in frame))) soon();
      seq = Math.max(seq, frame.seq);
    },
    (link) => {
      if (link !== "paused" && !paused) return;
      paused = link === "paused";
      if (!paused && missed) soon();
      missed = false;
      news.textContent = paused ? "" : (news.dataset.live ?? "");
    },
  );
  news.textContent = news.dataset.live ?? "";
  live.hidden = false;
}
