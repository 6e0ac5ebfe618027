// The page being written: a preview beside it while one types, pictures added where the cursor stands, and no text
// lost by a click. Without this the form works by itself.

const PAUSE_MS = 400;

const form = document.querySelector<HTMLFormElement>("#edit")!;
const text = form.querySelector<HTMLTextAreaElement>("#text")!;
const preview = form.querySelector<HTMLElement>("#preview")!;
const shown = preview.querySelector<HTMLElement>(".prose")!;
const upload = form.querySelector<HTMLElement>("#upload")!;
const file = upload.querySelector<HTMLInputElement>("#file")!;
const said = upload.querySelector<HTMLElement>("[role=status]")!;
const csrf = form.querySelector<HTMLInputElement>("[name=csrf]")!.value;

let saved = text.value;
let timer = 0;
let under = new AbortController();

async function show(): Promise<void> {
  under.abort();
  under = new AbortController();
  preview.hidden = !text.value.trim();
  if (preview.hidden) return;
  try {
    const body = new URLSearchParams({ csrf, text: text.value });
    const answer = await fetch("/wiki/preview", { method: "POST", body, signal: under.signal });
    // The server has cleaned it: the same that readers will get.
    if (answer.ok) shown.innerHTML = await answer.text();
    else shown.textContent = answer.status === 400 ? await answer.text() : form.dataset.failed!;
  } catch (error) {
    if ((error as Error).name !== "AbortError") shown.textContent = form.dataset.failed!;
  }
}

function soon(): void {
  clearTimeout(timer);
  timer = window.setTimeout(() => void show(), PAUSE_MS);
}

async function add(picture: File): Promise<void> {
  said.textContent = form.dataset.busy!;
  const body = new FormData();
  body.set("csrf", csrf);
  body.set("file", picture);
  try {
    const answer = await fetch("/wiki/files", { method: "POST", body, headers: { accept: "application/json" } });
    const { url, refused } = (await answer.json()) as { url?: string; refused?: string };
    if (url) {
      const name = picture.name.replace(/\.\w+$/, "").replace(/[[\]\\]/g, "");
      text.setRangeText(`![${name}](${url})`, text.selectionStart, text.selectionEnd, "end");
      text.focus();
      soon();
    }
    said.textContent = refused ?? "";
  } catch {
    said.textContent = form.dataset.failed!;
  }
  file.value = "";
}

text.addEventListener("input", soon);
upload.hidden = false;
file.addEventListener("change", () => file.files?.[0] && void add(file.files[0]));
form.addEventListener("submit", () => (saved = text.value));
addEventListener("beforeunload", (event) => {
  if (text.value !== saved) event.preventDefault();
});
void show();
