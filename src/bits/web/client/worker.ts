// The service worker: the homepage without a connection, as it was last known and marked as that; docs/widgets.md.
// It answers for the homepage and its assets, and for public pages with a word when they cannot be had. Members'
// pages, forms, the API and everything live go past it untouched, and nothing of them is ever stored.

import type { Snapshot } from "./types";

/** Written before this script by the server; no assets: it wants the worker gone. */
declare const BITS: { version: string; assets: string[] };

interface Lasting extends Event {
  waitUntil(done: Promise<unknown>): void;
}
interface Fetching extends Lasting {
  readonly request: Request;
  respondWith(answer: Promise<Response>): void;
}
interface Worker {
  addEventListener(type: "install" | "activate", run: (event: Lasting) => void): void;
  addEventListener(type: "fetch", run: (event: Fetching) => void): void;
  skipWaiting(): Promise<void>;
  readonly clients: { claim(): Promise<void> };
  readonly registration: { unregister(): Promise<boolean> };
}

const worker = self as unknown as Worker;
const CACHE = `bits-${BITS.version}`;
const STATE = "bits-state"; // what the page has last heard: install.ts
const HOME = ["/", "/blind"];
const PUBLIC = /^\/(log|info|wiki(\/(?!new$|files$|preview$)[^/]+)?)$/;
const OFFLINE = "/offline";
const PATIENCE_MS = 8000; // a network that takes longer counts as none
// As the page writes its times.
const MOMENT: Intl.DateTimeFormatOptions = { weekday: "short", day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" };
const assets = new Set(BITS.assets);
const wanted = assets.size > 0;

worker.addEventListener("install", (event) => {
  event.waitUntil((wanted ? fill() : Promise.resolve()).then(() => worker.skipWaiting()));
});

worker.addEventListener("activate", (event) => {
  event.waitUntil(tidy());
});

if (wanted)
  worker.addEventListener("fetch", (event) => {
    const { request } = event;
    const { origin, pathname } = new URL(request.url);
    if (request.method !== "GET" || origin !== location.origin) return;
    if (assets.has(pathname)) event.respondWith(cached(pathname, request));
    else if (request.mode !== "navigate") return;
    else if (HOME.includes(pathname)) event.respondWith(home(event));
    else if (PUBLIC.test(pathname)) event.respondWith(fetch(request).catch(offline));
  });

async function fill(): Promise<void> {
  const cache = await caches.open(CACHE);
  await Promise.all([cache.addAll([...assets, OFFLINE]), fetch("/").then(keep)]);
}

async function tidy(): Promise<void> {
  const old = (await caches.keys()).filter((name) => name.startsWith("bits-") && !(wanted && [CACHE, STATE].includes(name)));
  await Promise.all(old.map((name) => caches.delete(name)));
  await (wanted ? worker.clients.claim() : worker.registration.unregister());
}

async function cached(pathname: string, request: Request): Promise<Response> {
  return (await (await caches.open(CACHE)).match(pathname, { ignoreVary: true })) ?? fetch(request);
}

/** Store the homepage, with the time; what the server calls private never. */
async function keep(answer: Response): Promise<void> {
  if (!answer.ok || answer.redirected || /private|no-store/.test(answer.headers.get("cache-control") ?? "")) return;
  const headers = new Headers({ "X-Kept-At": String(Date.now()) });
  for (const name of ["content-type", "content-security-policy", "referrer-policy"])
    headers.set(name, answer.headers.get(name) ?? "");
  await (await caches.open(CACHE)).put("/", new Response(await answer.blob(), { headers }));
}

async function home(event: Fetching): Promise<Response> {
  try {
    const late = new Promise<never>((_, reject) => setTimeout(reject, PATIENCE_MS));
    const answer = await Promise.race([fetch(event.request), late]);
    if (answer.status >= 500) throw answer.status; // a proxy before a server that is down
    event.waitUntil(keep(answer.clone()));
    return answer;
  } catch {
    return (await copy()) ?? offline();
  }
}

/** The homepage as it was last known: its own copy, brought up to what the page heard after that, and marked. */
async function copy(): Promise<Response | undefined> {
  const page = await (await caches.open(CACHE)).match("/", { ignoreVary: true });
  if (!page) return undefined;
  let html = await page.text();
  let at = Number(page.headers.get("X-Kept-At"));
  const news = await (await caches.open(STATE)).match("/");
  if (news) {
    const heard = (await news.json()) as { at: number; state: Snapshot };
    if (heard.at > at) {
      at = heard.at;
      const data = JSON.stringify(heard.state).replaceAll("<", "\\u003c");
      html = html.replace(/(<script [^>]*id="data">)[^<]*/, (_, tag: string) => tag + data);
    }
  }
  const [, language = "en"] = /<html lang="([\w-]+)"/.exec(html) ?? [];
  const [, timeZone = "UTC"] = /data-time-zone="([\w/+-]+)"/.exec(html) ?? [];
  const when = new Date(at).toLocaleString(language === "en" ? "en-GB" : language, { ...MOMENT, timeZone });
  html = html
    .replace(/(id="kept"[^>]*) hidden/, "$1")
    .replace('<time id="kept-at">', `<time id="kept-at" datetime="${new Date(at).toISOString()}">${when}`);
  return new Response(html, { headers: page.headers });
}

async function offline(): Promise<Response> {
  return (await (await caches.open(CACHE)).match(OFFLINE, { ignoreVary: true })) ?? Response.error();
}
