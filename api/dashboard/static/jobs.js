// The list: rows change in place, new jobs come on top unless that would move a row under the pointer.
import { Connection } from "./live.js";
import { Fragments, place } from "./fragments.js";
import { localise } from "./time.js";

const MOST_ROWS = 100;
const MOST_FRESH = 200;
const MOST_DUE = 300;
const SUMMARY_MS = 1000;
const IDLE_MS = 10000;

export function followJobs({ events, parts, rows, grows }) {
  const due = new Set();
  let newest = false;
  const waiting = new Map();
  const list = () => document.getElementById("group-live");
  const newer = document.getElementById("newer");

  const summary = new Fragments(() => parts, SUMMARY_MS, (text) => place(text, { quiet: inUse() }));
  const changed = new Fragments(take, 250, (text) => { for (const row of place(text)) meet(row); if (due.size) changed.soon(); });

  function take() {
    const ids = [...due].slice(0, MOST_ROWS);
    ids.forEach((id) => due.delete(id));
    const also = newest && grows !== undefined ? "&newest" : "";
    newest = false;
    return ids.length || also ? `${rows}?ids=${ids.join(",")}${also}` : null;
  }

  /** Something happened to a job; of a flood only the newest are asked for. */
  function note(id) {
    due.add(id);
    if (due.size > MOST_DUE) {
      for (const one of due) if (!document.getElementById(`job-${one}`)) due.delete(one);
      newest = true;
    }
    changed.soon();
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
    for (const row of [...waiting.values()].sort((a, b) => a.dataset.created - b.dataset.created)) {
      const fresh = document.importNode(row, true);
      localise(fresh);
      fresh.classList.add("fresh");
      list().querySelector(".grp").after(fresh);
    }
    waiting.clear();
    offer();
    trim();
  }

  /** A page that stays open for days must not grow: what ended goes first, the oldest of it. */
  function trim() {
    const all = [...list().querySelectorAll("tr[data-live]")].reverse();
    const ended = all.filter((row) => row.matches(".s-completed, .s-failed"));
    for (const row of [...new Set([...ended, ...all])].slice(0, Math.max(0, all.length - MOST_FRESH))) row.remove();
  }

  newer?.querySelector("button").addEventListener("click", show);

  const live = new Connection(events, {
    // What happened before the stream began, or while it was broken, is asked for.
    open: () => {
      for (const row of document.querySelectorAll("#group-live tr[data-live]")) due.add(row.id.slice(4));
      newest = true;
      changed.soon();
      summary.soon();
    },
    message: (event) => {
      if (event.jobId) note(event.jobId);
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
