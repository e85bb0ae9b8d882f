// Fragments of the page: the server renders them by its own templates, the script puts them in place.
import { localise } from "./time.js";

const BUSY_MS = 2000;
const lastHtml = new Map();

/** Replace the parts of the page that changed; return the parts that the page does not have. */
export function update(html, { quiet = false } = {}) {
  const fetched = new DOMParser().parseFromString(html, "text/html");
  const unknown = [];
  for (const part of fetched.querySelectorAll("[data-live]")) {
    const current = document.getElementById(part.id);
    if (!current) { unknown.push(part); continue; }
    // Nothing moves under the pointer: parts that would push the list down wait.
    if (quiet && "push" in part.dataset) continue;
    if (lastHtml.get(part.id) === part.outerHTML) continue;
    lastHtml.set(part.id, part.outerHTML);
    replace(current, part);
  }
  return unknown;
}

/** Replace an element; keep the keyboard focus and the scroll positions inside it. */
function replace(current, part) {
  const fresh = document.importNode(part, true);
  const focused = current.contains(document.activeElement) ? identity(document.activeElement) : null;
  const scrolled = [...current.querySelectorAll(".table-box")].map((box) => [box.scrollLeft, box.scrollTop]);
  localise(fresh);
  current.replaceWith(fresh);
  fresh.querySelectorAll(".table-box").forEach((box, i) => { [box.scrollLeft, box.scrollTop] = scrolled[i] ?? [0, 0]; });
  if (focused) [...fresh.querySelectorAll("a, button, [tabindex]")].find((node) => identity(node) === focused)?.focus({ preventScroll: true });
}

function identity(node) {
  return `${node.tagName} ${node.getAttribute("href") ?? node.dataset.copy ?? node.getAttribute("aria-label") ?? ""}`;
}

/** Fetcher of an address on demand: at most once in `pause` milliseconds, one request at a time. */
export class Fragments {
  #timer = 0;
  #busy = false;
  #again = false;
  #fetchedAt = 0;

  constructor(address, pause, use = (html) => update(html)) {
    this.address = address;
    this.pause = pause;
    this.use = use;
  }

  refresh() {
    if (this.#busy) { this.#again = true; return; }
    if (this.#timer) return;
    this.#timer = setTimeout(() => this.#fetch(), Math.max(0, this.#fetchedAt + this.pause - Date.now()));
  }

  async #fetch() {
    this.#timer = 0;
    const address = this.address();
    if (!address) return;
    this.#busy = true;
    this.#fetchedAt = Date.now();
    try {
      const answer = await fetch(address, { signal: AbortSignal.timeout(10000) });
      if (answer.ok) this.use(await answer.text());
      else if (answer.status === 503) {
        this.#again = true;
        this.#fetchedAt += BUSY_MS;
      }
    } catch {
      // The stream breaks too: it shows that the page is offline, and refreshes everything after reconnecting.
    } finally {
      this.#busy = false;
      if (this.#again) { this.#again = false; this.refresh(); }
    }
  }
}
