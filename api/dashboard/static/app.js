// The entry of every page: what it shows stays right without any of this; here it stays up to date.
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
else if (page.page) followOne(page);

/** A task's or a job's page: each event of it brings all its parts again, at most four times a second. */
function followOne({ events, parts: address }) {
  const log = document.getElementById("lines");
  const follower = log ? followLog(log) : null;
  if (!events) return;
  const parts = new Fragments(() => address, 250);
  const live = new Connection(events, {
    open: () => parts.soon(),
    message: () => parts.soon(),
    end: () => { parts.soon(); follower?.finish(); },
  });
  follower?.begin();
  live.begin();
}
