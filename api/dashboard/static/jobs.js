// List of jobs: rows change in place; new jobs appear on top, unless that would move a row under the pointer.
import { Connection } from "./live.js";
import { Fragments, update } from "./fragments.js";
import { localise } from "./time.js";

const MOST_ROWS_PER_REQUEST = 100;
const MOST_LIVE_ROWS = 200;
const MOST_CHANGED = 300;
const SUMMARY_MS = 1000;
const IDLE_MS = 10000;

export function followJobs({ events, parts, rows, grows }) {
  const changed = new Set();
  let newest = false;
  const waiting = new Map();
  const list = () => document.getElementById("group-live");
  const newer = document.getElementById("newer");

  const summary = new Fragments(() => parts, SUMMARY_MS, (html) => update(html, { quiet: inUse() }));
  const changedRows = new Fragments(takeChanged, 250, (html) => {
    for (const row of update(html)) addNew(row);
    if (changed.size) changedRows.refresh();
  });

  /** Return the address of the next rows to fetch, or null. */
  function takeChanged() {
    const ids = [...changed].slice(0, MOST_ROWS_PER_REQUEST);
    ids.forEach((id) => changed.delete(id));
    const also = newest && grows !== undefined ? "&newest" : "";
    newest = false;
    return ids.length || also ? `${rows}?ids=${ids.join(",")}${also}` : null;
  }

  /** Note that a job changed; in a flood of events, keep only the jobs on the page and ask for the newest. */
  function markChanged(id) {
    changed.add(id);
    if (changed.size > MOST_CHANGED) {
      for (const other of changed) if (!document.getElementById(`job-${other}`)) changed.delete(other);
      newest = true;
    }
    changedRows.refresh();
  }

  /** Add the row of a job that is not on the page yet. */
  function addNew(row) {
    if (!list()) {
      // The page shows that there are no jobs.
      if (document.getElementById("empty")) location.reload();
      return;
    }
    if (grows === undefined) return;
    waiting.set(row.id, row);
    if (inUse()) offerWaiting();
    else showWaiting();
  }

  function offerWaiting() {
    newer.hidden = waiting.size === 0;
    newer.querySelector("span").textContent = `${waiting.size} newer ${waiting.size === 1 ? "job" : "jobs"}`;
  }

  function showWaiting() {
    for (const row of [...waiting.values()].sort((a, b) => a.dataset.created - b.dataset.created)) {
      const fresh = document.importNode(row, true);
      localise(fresh);
      fresh.classList.add("fresh");
      list().querySelector(".group").after(fresh);
    }
    waiting.clear();
    offerWaiting();
    trim();
  }

  /** Remove rows, so that a page that is open for days does not grow: first ended jobs, the oldest first. */
  function trim() {
    const all = [...list().querySelectorAll("tr[data-live]")].reverse();
    const ended = all.filter((row) => row.matches(".row-completed, .row-failed"));
    for (const row of [...new Set([...ended, ...all])].slice(0, Math.max(0, all.length - MOST_LIVE_ROWS))) row.remove();
  }

  newer?.querySelector("button").addEventListener("click", showWaiting);

  const live = new Connection(events, {
    // Events may be missing from before the stream began, or while it was broken.
    open: () => {
      for (const row of document.querySelectorAll("#group-live tr[data-live]")) changed.add(row.id.slice(4));
      newest = true;
      changedRows.refresh();
      summary.refresh();
    },
    message: (event) => {
      if (event.jobId) markChanged(event.jobId);
      if (event.kind !== "link") summary.refresh();
    },
  });
  live.begin();
  setInterval(() => { if (!document.hidden) summary.refresh(); }, IDLE_MS);
}

/** Return true while the reader points at a row, or has the keyboard on one. */
function inUse() {
  const box = document.getElementById("jobs");
  return Boolean(box && (box.matches(":hover") || box.contains(document.activeElement)));
}
