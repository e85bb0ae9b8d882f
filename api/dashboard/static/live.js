// A stream of the API that reconnects when it breaks, and closes while the page is in the background.
import { clock, now } from "./time.js";

const RECONNECT_MS = 2000;
const broken = new Set();
const active = new Set();

/** Show the state of all streams of the page: offline from the moment when the first of them broke. */
function showState(connection, connected) {
  if (connected) broken.delete(connection);
  else broken.add(connection);
  const offline = broken.size > 0;
  const bar = document.getElementById("offline");
  const light = document.getElementById("live");
  if (offline && bar.hidden) document.getElementById("offline-since").textContent = `Not connected since ${clock(now())}.`;
  bar.hidden = !offline;
  light.hidden = active.size === 0;
  light.classList.toggle("broken", offline);
  light.lastElementChild.textContent = offline ? "Offline" : "Live";
  document.documentElement.classList.toggle("offline", offline);
}

/** Stream of events to `handlers`: open(), message(data), end(data); `names` are the events to listen for. */
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
    // A browser opens six connections to a server: a page in the background must not hold two of them.
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#close() : this.#open()));
    document.getElementById("reconnect").addEventListener("click", () => { this.#close(); this.#open(); });
    addEventListener("pagehide", () => this.#close());
    addEventListener("pageshow", (event) => { if (event.persisted) this.#open(); });
  }

  /** Close the stream for good. */
  end() {
    this.#ended = true;
    active.delete(this);
    this.#close();
    showState(this, true);
  }

  #open() {
    if (this.#ended || this.#source || document.hidden) return;
    clearTimeout(this.#timer);
    const source = new EventSource(this.#address);
    this.#source = source;
    source.onopen = () => { showState(this, true); this.#handlers.open?.(); };
    source.onerror = () => {
      if (this.#source !== source) return;
      showState(this, false);
      // Browsers wait longer each time, and give up after a refusal, so the reconnect is ours.
      this.#close();
      this.#timer = setTimeout(() => this.#open(), RECONNECT_MS);
    };
    for (const name of this.names) source.addEventListener(name, (e) => this.#handlers.message?.(JSON.parse(e.data)));
    // The database was put back in time: what the page shows may not be there any more.
    source.addEventListener("reset", () => this.#handlers.open?.());
    source.addEventListener("end", (e) => { this.end(); this.#handlers.end?.(JSON.parse(e.data)); });
  }

  #close() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }
}
