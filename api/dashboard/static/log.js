// The log: pieces become rows by textContent alone, 400 of them at most, followed until the reader scrolls up.
import { Connection } from "./live.js";

const MOST_ROWS = 400;
const MOST_LINE = 4000;
const MOST_RAW = 65536;
/** How the note begins that stands where a log was cut (engine/model/log_gap.py). */
const CUT = "The log is cut here: ";
const STEERING = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/g;
const ESCAPES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])/g;

/** A line as it looks on a terminal in the end: no escapes, the last of what `\r` redrew. */
function shown(raw) {
  const ended = raw.replace(/[\r\n]+$/, "");
  const bare = ended.slice(ended.lastIndexOf("\r") + 1).replace(ESCAPES, "").replace(STEERING, "\ufffd");
  return bare.length > MOST_LINE ? `${bare.slice(0, MOST_LINE)}…` : bare;
}

function cell(kind, name, text) {
  const node = document.createElement(kind);
  if (name) node.className = name;
  node.textContent = text;
  return node;
}

export function followLog(box) {
  const names = JSON.parse(box.dataset.names);
  const empty = document.getElementById("log-empty");
  const button = document.getElementById("follow");
  const open = new Map();
  let last = Number(box.dataset.last);
  let run = null;
  let following = true;
  let expected = -1;
  let planned = 0;
  let queue = [];

  for (const row of box.querySelectorAll(".row")) {
    stamp(row.querySelector("time"), row.querySelector("time").dateTime);
    run = row.dataset.k.split(".").slice(0, 3).join(".");
    if ("open" in row.dataset) open.set(row.dataset.k, { row, raw: row.querySelector(".t").textContent });
    else open.delete(row.dataset.k);
  }

  function stamp(time, at) {
    if (!at) return;
    const then = new Date(at);
    time.dateTime = at;
    time.textContent = `${then.toLocaleTimeString("en-GB")}.${String(then.getMilliseconds()).padStart(3, "0")}`;
    time.title = at;
  }

  function add({ attempt, origin, link, firstLine, frames }) {
    if (firstLine > last + 1) box.append(cell("div", "head_ gap", `${firstLine - last - 1} lines are not shown here`));
    frames.forEach(([stream, at, text], i) => {
      if (firstLine + i <= last) return;
      last = firstLine + i;
      head(`${attempt}.${origin}.${link}`, link, attempt);
      line(`${run}.${stream}`, stream, at, text);
    });
  }

  function head(key, link, attempt) {
    if (key === run) return;
    run = key;
    open.clear();
    const name = names[link] ?? `link ${link}`;
    box.append(cell("div", "head_", attempt > 1 ? `${name}, attempt ${attempt}` : name));
  }

  function line(key, stream, at, text) {
    if (stream === 0 && text.startsWith(CUT)) open.clear();
    const before = open.get(key);
    const raw = ((before?.raw ?? "") + text).slice(-MOST_RAW);
    const row = before?.row ?? cell("div", stream === 0 ? "row note_" : "row", "");
    if (before) row.lastElementChild.textContent = shown(raw);
    else {
      const time = document.createElement("time");
      stamp(time, at);
      row.dataset.n = last;
      row.append(cell("span", "no", last), time, cell("span", "t", shown(raw)));
      box.append(row);
    }
    if (text.endsWith("\n")) open.delete(key);
    else open.set(key, { row, raw });
  }

  function draw() {
    planned = 0;
    queue.splice(0).forEach(add);
    empty.hidden = box.childElementCount > 0;
    while (box.childElementCount > MOST_ROWS) box.firstElementChild.remove();
    if (following) toEnd();
  }

  function toEnd() {
    box.scrollTop = box.scrollHeight;
    expected = box.scrollTop;
  }

  function follow(on) {
    following = on;
    if (!button) return;
    button.setAttribute("aria-pressed", String(on));
    button.querySelector("span").textContent = on ? "Following" : "Follow";
    if (on) toEnd();
  }

  const atEnd = () => box.scrollTop + box.clientHeight >= box.scrollHeight - 4;
  box.addEventListener("scroll", () => {
    if (following && box.scrollTop < expected - 4 && !atEnd()) follow(false);
    else if (!following && atEnd()) follow(true);
  });
  button?.addEventListener("click", () => follow(!following));
  document.addEventListener("follow-log", () => follow(!following));
  toEnd();

  return {
    begin() {
      if (!box.dataset.follow) return;
      new Connection(box.dataset.follow, {
        // Many pieces may come at once: they are drawn together, with the next frame.
        message: (chunk) => { queue.push(chunk); if (!planned) planned = requestAnimationFrame(draw); },
        end: () => { follow(following); empty.textContent = "It wrote nothing."; },
      }, ["log"]).begin();
    },
    finish() { button?.setAttribute("hidden", ""); },
  };
}
