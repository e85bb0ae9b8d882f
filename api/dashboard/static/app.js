// Entry of every page: pages are complete without scripts; the scripts keep them up to date.
import { onCopy, onKeys } from "./shortcuts.js";
import { followJobs } from "./jobs.js";
import { Connection } from "./live.js";
import { followLog } from "./log.js";
import { Fragments } from "./fragments.js";
import { startClocks } from "./time.js";

document.documentElement.classList.add("scripted");
startClocks();
onCopy();
onKeys();

const page = document.body.dataset;
if (page.page === "jobs") followJobs(page);
else if (page.page) followDetail(page);

/** Follow a task or a job: each of its events refreshes all parts of the page, at most four times a second. */
function followDetail({ events, parts: address }) {
  const lines = document.getElementById("lines");
  const log = lines ? followLog(lines) : null;
  if (!events) return;
  const parts = new Fragments(() => address, 250);
  const live = new Connection(events, {
    open: () => parts.refresh(),
    message: () => parts.refresh(),
    end: () => { parts.refresh(); log?.finish(); },
  });
  log?.begin();
  live.begin();
}
