// Pieces of the page, made by the server's own templates and put in place of what they were.
import { localise } from "./time.js";

const BUSY_MS = 2000;
const last = new Map();

/** Put every part of the fetched page in its place; what did not change is left alone. Gives those without one. */
export function place(text, { quiet = false } = {}) {
  const fetched = new DOMParser().parseFromString(text, "text/html");
  const homeless = [];
  for (const part of fetched.querySelectorAll("[data-live]")) {
    const here = document.getElementById(part.id);
    if (!here) { homeless.push(part); continue; }
    // Nothing moves under the pointer: what pushes the list down waits.
    if (quiet && "push" in part.dataset) continue;
    if (last.get(part.id) === part.outerHTML) continue;
    last.set(part.id, part.outerHTML);
    replace(here, part);
  }
  return homeless;
}

function replace(here, part) {
  const fresh = document.importNode(part, true);
  const at = here.contains(document.activeElement) ? name(document.activeElement) : null;
  const scrolled = [...here.querySelectorAll(".tw")].map((box) => [box.scrollLeft, box.scrollTop]);
  localise(fresh);
  here.replaceWith(fresh);
  fresh.querySelectorAll(".tw").forEach((box, i) => { [box.scrollLeft, box.scrollTop] = scrolled[i] ?? [0, 0]; });
  if (at) [...fresh.querySelectorAll("a, button, [tabindex]")].find((node) => name(node) === at)?.focus({ preventScroll: true });
}

function name(node) {
  return `${node.tagName} ${node.getAttribute("href") ?? node.dataset.copy ?? node.getAttribute("aria-label") ?? ""}`;
}

/** Fetches an address soon after it is told to, at most once in `pause` milliseconds and one at a time. */
export class Fragments {
  #timer = 0;
  #busy = false;
  #again = false;
  #at = 0;

  constructor(address, pause, use = (text) => place(text)) {
    this.address = address;
    this.pause = pause;
    this.use = use;
  }

  soon() {
    if (this.#busy) { this.#again = true; return; }
    if (this.#timer) return;
    this.#timer = setTimeout(() => this.#fetch(), Math.max(0, this.#at + this.pause - Date.now()));
  }

  async #fetch() {
    this.#timer = 0;
    const address = this.address();
    if (!address) return;
    this.#busy = true;
    this.#at = Date.now();
    try {
      const answer = await fetch(address, { signal: AbortSignal.timeout(10000) });
      if (answer.ok) this.use(await answer.text());
      else if (answer.status === 503) {
        this.#again = true;
        this.#at += BUSY_MS;
      }
    } catch {
      // The stream notices the same break, says so, and asks for everything again when it is back.
    } finally {
      this.#busy = false;
      if (this.#again) { this.#again = false; this.soon(); }
    }
  }
}
