// The list: rows change in place, new jobs come on top unless that would move a row under the pointer.
import { Connection } from "./live.js";
import { Parts, place } from "./parts.js";
import { localise } from "./time.js";

const MOST_ROWS = 100;
const MOST_FRESH = 200;
const SUMMARY_MS = 1000;
const IDLE_MS = 10000;

export function followJobs({ events, parts, rows, grows }) {
  const due = new Set();
  const waiting = new Map();
  const list = () => document.getElementById("group-live");
  const newer = document.getElementById("newer");

  const summary = new Parts(() => parts, SUMMARY_MS, (text) => place(text, { quiet: inUse() }));
  const changed = new Parts(take, 250, (text) => { for (const row of place(text)) meet(row); if (due.size) changed.soon(); });

  function take() {
    const ids = [...due].slice(0, MOST_ROWS);
    ids.forEach((id) => due.delete(id));
    return ids.length ? `${rows}?ids=${ids.join(",")}` : null;
  }

  /** A job that this page does not show yet. */
  function meet(row) {
    if (!list()) {
      // The page said that there is no job at all.
      if (document.getElementById("empty")) location.reload();
      return;
    }
    if (grows === undefined) return;
    waiting.set(row.id, row);
    if (inUse()) offer();
    else show();
  }

  function offer() {
    newer.hidden = waiting.size === 0;
    newer.querySelector("span").textContent = `${waiting.size} newer ${waiting.size === 1 ? "job" : "jobs"}`;
  }

  function show() {
    for (const row of waiting.values()) {
      const fresh = document.importNode(row, true);
      localise(fresh);
      fresh.classList.add("fresh");
      list().querySelector(".grp").after(fresh);
    }
    waiting.clear();
    offer();
    const all = list().querySelectorAll("tr[data-live]");
    for (let i = all.length - 1; i >= MOST_FRESH; i--) all[i].remove();
  }

  newer?.querySelector("button").addEventListener("click", show);

  const live = new Connection(events, {
    open: () => { for (const row of document.querySelectorAll(".list tr.s-idle, .list tr.s-running, .list tr.s-warn")) due.add(row.id.slice(4)); changed.soon(); summary.soon(); },
    message: (event) => {
      if (event.jobId && event.kind !== "note") { due.add(event.jobId); changed.soon(); }
      if (event.kind !== "link") summary.soon();
    },
  });
  live.begin();
  setInterval(() => { if (!document.hidden) summary.soon(); }, IDLE_MS);
}

/** The reader points at a row or has the keyboard on one. */
function inUse() {
  const box = document.getElementById("jobs");
  return Boolean(box && (box.matches(":hover") || box.contains(document.activeElement)));
}
