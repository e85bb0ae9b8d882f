// One stream of the API's, kept up: asked for again when it breaks, let go while nobody looks.
import { clock, now } from "./time.js";

const AGAIN_MS = 2000;
const lost = new Set();
const active = new Set();

/** A page shows one line for all its streams: not connected since the first of them broke. */
function tell(connection, connected) {
  if (connected) lost.delete(connection);
  else lost.add(connection);
  const off = lost.size > 0;
  const line = document.getElementById("offline");
  const light = document.getElementById("live");
  if (off && line.hidden) document.getElementById("offline-since").textContent = `Not connected since ${clock(now())}.`;
  line.hidden = !off;
  light.hidden = active.size === 0;
  light.classList.toggle("no", off);
  light.lastElementChild.textContent = off ? "Offline" : "Live";
  document.documentElement.classList.toggle("offline", off);
}

/** Streams events to `handlers`: open(), message(name, data), end(data). `address` may be a function. */
export class Connection {
  #address;
  #handlers;
  #source = null;
  #timer = 0;
  #ended = false;

  constructor(address, handlers, names = ["event"]) {
    this.#address = address;
    this.#handlers = handlers;
    this.names = names;
  }

  begin() {
    active.add(this);
    this.#open();
    // A browser gives one server six connections: a page in the background must not hold two of them.
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#close() : this.#open()));
    document.getElementById("try-now").addEventListener("click", () => { this.#close(); this.#open(); });
    addEventListener("pagehide", () => this.#close());
    addEventListener("pageshow", (event) => { if (event.persisted) this.#open(); });
  }

  /** Nothing more is to come. */
  end() {
    this.#ended = true;
    active.delete(this);
    this.#close();
    tell(this, true);
  }

  #open() {
    if (this.#ended || this.#source || document.hidden) return;
    clearTimeout(this.#timer);
    const source = new EventSource(typeof this.#address === "function" ? this.#address() : this.#address);
    this.#source = source;
    source.onopen = () => { tell(this, true); this.#handlers.open?.(); };
    source.onerror = () => {
      if (this.#source !== source) return;
      tell(this, false);
      // The browser would wait ever longer, or not ask again after a refusal: we ask ourselves.
      this.#close();
      this.#timer = setTimeout(() => this.#open(), AGAIN_MS);
    };
    for (const name of this.names) source.addEventListener(name, (e) => this.#handlers.message?.(JSON.parse(e.data)));
    source.addEventListener("end", (e) => { this.end(); this.#handlers.end?.(JSON.parse(e.data)); });
  }

  #close() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }
}
