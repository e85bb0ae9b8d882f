// Log of a task: frames become rows by textContent alone, at most 400; scrolling up stops following.
import { Connection } from "./live.js";

const MOST_ROWS = 400;
const MOST_LINE = 4000;
const MOST_RAW = 65536;
const CONTROLS = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/g;
const ESCAPES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])/g;

/** Return a line as a terminal shows it in the end: no escapes, only the text after the last `\r`. */
function lineText(raw) {
  const ended = raw.replace(/[\r\n]+$/, "");
  const bare = ended.slice(ended.lastIndexOf("\r") + 1).replace(ESCAPES, "").replace(CONTROLS, "\ufffd");
  return bare.length > MOST_LINE ? `${bare.slice(0, MOST_LINE)}…` : bare;
}

function element(tag, className, text) {
  const node = document.createElement(tag);
  node.className = className;
  node.textContent = text;
  return node;
}

function writeTime(time, stamp) {
  if (!stamp) return;
  const then = new Date(stamp);
  time.dateTime = stamp;
  time.textContent = `${then.toLocaleTimeString("en-GB")}.${String(then.getMilliseconds()).padStart(3, "0")}`;
  time.title = stamp;
}

export function followLog(box) {
  const headings = JSON.parse(box.dataset.headings);
  const empty = document.getElementById("log-empty");
  const button = document.getElementById("follow");
  const unfinished = new Map();
  // Lines that grew since the last drawing: each is written once, however many pieces came.
  const grown = new Set();
  let last = Number(box.dataset.last);
  let run = null;
  let following = true;
  let expectedTop = -1;
  let planned = 0;
  let queue = [];

  for (const row of box.querySelectorAll(".log-row")) {
    writeTime(row.querySelector("time"), row.querySelector("time").dateTime);
    run = row.dataset.key.split(".").slice(0, 3).join(".");
    if ("open" in row.dataset) unfinished.set(row.dataset.key, { row, raw: row.querySelector(".text").textContent });
    else unfinished.delete(row.dataset.key);
  }

  function addChunk({ attempt, origin, link, firstLine, frames }) {
    if (firstLine > last + 1) box.append(element("div", "link-heading gap", `${firstLine - last - 1} lines are not shown here`));
    frames.forEach(([stream, stamp, text], i) => {
      if (firstLine + i <= last) return;
      last = firstLine + i;
      addHeading(`${attempt}.${origin}.${link}`, link, attempt);
      addFrame(`${run}.${stream}`, stream, stamp, text);
    });
  }

  function addHeading(key, link, attempt) {
    if (key === run) return;
    run = key;
    unfinished.clear();
    const heading = headings[link] ?? `link ${link}`;
    box.append(element("div", "link-heading", attempt > 1 ? `${heading}, attempt ${attempt}` : heading));
  }

  function addFrame(key, stream, stamp, text) {
    if (stream === 0 && text.startsWith(box.dataset.gap)) unfinished.clear();
    const before = unfinished.get(key);
    let raw = (before?.raw ?? "") + text;
    if (raw.length > 2 * MOST_RAW) raw = raw.slice(-MOST_RAW);
    const row = before?.row ?? element("div", stream === 0 ? "log-row ferryman-note" : "log-row", "");
    const line = { row, raw };
    grown.delete(before);
    grown.add(line);
    if (!before) {
      const time = document.createElement("time");
      writeTime(time, stamp);
      row.append(element("span", "line-number", last), time, element("span", "text", ""));
      box.append(row);
    }
    if (text.endsWith("\n")) unfinished.delete(key);
    else unfinished.set(key, line);
  }

  function draw() {
    planned = 0;
    queue.splice(0).forEach(addChunk);
    for (const { row, raw } of grown) row.lastElementChild.textContent = lineText(raw.slice(-MOST_RAW));
    grown.clear();
    empty.hidden = box.childElementCount > 0;
    while (box.childElementCount > MOST_ROWS) box.firstElementChild.remove();
    if (following) scrollToEnd();
  }

  function scrollToEnd() {
    box.scrollTop = box.scrollHeight;
    expectedTop = box.scrollTop;
  }

  function follow(on) {
    following = on;
    if (!button) return;
    button.setAttribute("aria-pressed", String(on));
    button.querySelector("span").textContent = on ? "Following" : "Follow";
    if (on) scrollToEnd();
  }

  const isAtEnd = () => box.scrollTop + box.clientHeight >= box.scrollHeight - 4;
  box.addEventListener("scroll", () => {
    if (following && box.scrollTop < expectedTop - 4 && !isAtEnd()) follow(false);
    else if (!following && isAtEnd()) follow(true);
  });
  button?.addEventListener("click", () => follow(!following));
  document.addEventListener("follow-log", () => follow(!following));
  scrollToEnd();

  return {
    begin() {
      if (!box.dataset.follow) return;
      new Connection(box.dataset.follow, {
        // Many chunks may arrive together: they are drawn together, before the next repaint.
        message: (chunk) => { queue.push(chunk); if (!planned) planned = requestAnimationFrame(draw); },
        end: () => { follow(following); empty.textContent = "The task wrote nothing."; },
      }, ["log"]).begin();
    },
    finish() { button?.setAttribute("hidden", ""); },
  };
}
