// What will be: fetched from the server, which alone can tell, after each change and as time goes by.

const EVERY = 5 * 60 * 1000; // milliseconds
const SPREAD = 3000; // everybody hears of a change at once; not everybody asks at once what follows from it
const PARTS = ["outlook", "forecast", "past"];

export class Outlook {
  paused = false;
  private timer = 0;

  constructor() {
    this.plan(EVERY);
  }

  /** Ask again, soon. */
  soon(): void {
    this.plan(Math.random() * SPREAD);
  }

  private plan(delay: number): void {
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.fetch(), delay);
  }

  private async fetch(): Promise<void> {
    this.plan(EVERY);
    if (this.paused || document.visibilityState !== "visible") return; // asks once it is looked at again
    try {
      const answer = await fetch("/outlook");
      if (answer.ok) this.show(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch {
      // Not reachable: the page says so elsewhere, and what stands here stays until the next time.
    }
  }

  private show(page: Document): void {
    for (const id of PARTS) {
      const old = document.getElementById(id);
      const fresh = page.getElementById(id);
      if (!old || !fresh || old.isEqualNode(fresh)) continue;
      const unfolded = (old instanceof HTMLDetailsElement ? old : old.querySelector("details"))?.open ?? false;
      const held = old.contains(document.activeElement);
      if (held) continue; // somebody is reading here with the keyboard: next time
      for (const details of fresh.querySelectorAll("details")) details.open = unfolded;
      if (fresh instanceof HTMLDetailsElement) fresh.open = unfolded;
      old.replaceWith(fresh);
    }
  }
}
