// Times in the reader's zone, and ages by the server's clock; one timer updates them all.

const root = document.documentElement;
// The page holds the server's time at the start of its answer: transfer time is not part of the difference.
const answered = performance.timeOrigin + (performance.getEntriesByType("navigation")[0]?.responseStart ?? 0);
const offset = Number(document.body.dataset.now || answered) - answered;
const clockFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayFormat = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "2-digit", month: "short" });
const two = (n) => String(n).padStart(2, "0");

/** Milliseconds since 1970 by the server's clock. */
export const now = () => Date.now() + offset;

/** Return a duration as `380 ms`, `2.1 s`, `38 s`, `14m 38s`, `3h 04m`, `6d 02h`. */
export function duration(ms) {
  if (ms < 950) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < 9950) return `${(ms / 1000).toFixed(1)} s`;
  const s = Math.round(ms / 1000);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)}m ${two(s % 60)}s`;
  if (s < 86400) return `${Math.floor(s / 3600)}h ${two(Math.floor((s % 3600) / 60))}m`;
  return `${Math.floor(s / 86400)}d ${two(Math.floor((s % 86400) / 3600))}h`;
}

/** Return how long ago, in words. */
const age = (ms) => (ms < 1000 ? "just now" : `${duration(ms)} ago`);

/** Return `14:32:07` for a time of today, else `Mon 23 Nov 18:04`. */
export function clock(ms) {
  const then = new Date(ms);
  const time = clockFormat.format(then);
  if (then.toDateString() === new Date(now()).toDateString()) return time;
  return `${dayFormat.format(then).replace(",", "")} ${time.slice(0, 5)}`;
}

/** Write the times inside `node` in the reader's zone. */
export function localise(node) {
  for (const time of node.querySelectorAll("time[data-clock]")) {
    const ms = Number(time.dataset.clock);
    time.textContent = clock(ms);
    time.title = `${new Date(ms).toString()}, .${String(ms % 1000).padStart(3, "0")}`;
  }
  tick(node);
}

function tick(node) {
  for (const span of node.querySelectorAll("[data-since]")) write(span, duration(now() - span.dataset.since));
  for (const time of node.querySelectorAll("[data-ago]")) write(time, age(now() - time.dataset.ago));
}

function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Start the timer; ages stand still while the page is offline, like the rest of the page. */
export function startClocks() {
  localise(document);
  setInterval(() => {
    if (!document.hidden && !root.classList.contains("offline")) tick(document);
  }, 500);
}
