"""Views of a followed task: a display rewritten in place on a terminal, otherwise plain lines."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from engine.cli import screen
from engine.cli.job_stream import EventUpdate, LogLine, TaskUpdate, Update, failed_link, links
from engine.client import Json
from engine.wording.durations import duration
from engine.wording.exit_codes import exit_words
from engine.wording.links import link_title
from engine.wording.text import for_terminal
from engine.wording.times import ms_between

if TYPE_CHECKING:
    from rich.text import Text

_SHOWN_LINES = 8
_KEPT_LINES = 12
_SHOWN_EVENTS = ("repair", "late", "note")
_MARKS = {"ok": "✓", "bad": "✗", "now": "▸", "wait": "·", "skip": "–"}
#: Exit code -> what the user can try.
_REMEDIES: dict[object, str] = {
    125: "check the image, mounts and limits: Docker refused one of them",
    126: "name an executable file, or run the script with its interpreter: cmd: [sh, script]",
    127: "check that the image has the first word of cmd or entrypoint; put shell lines in run:",
    128: "check user and env",
    137: "raise the memory limit (limits: {memory: 1g}) if the container ran out of memory, or raise the timeout",
}
_MARK_STYLES = {"ok": "green", "bad": "red", "now": "cyan", "wait": "dim", "skip": "dim"}


class View(Protocol):
    """Display of updates."""

    def take(self, update: Update) -> None:
        """Show the update."""

    def close(self) -> None:
        """Stop rewriting the screen; what is shown stays."""


def watch(updates: Iterator[Update]) -> Json:
    """Show all updates and the end of the task; return the ended task."""
    last_lines: deque[LogLine] = deque(maxlen=_KEPT_LINES)
    task: Json = {}
    view: View = _LiveView() if screen.allows_escapes() else _PlainView()
    try:
        for update in updates:
            if isinstance(update, TaskUpdate):
                task = update.task
            elif isinstance(update, LogLine):
                last_lines.append(update)
            view.take(update)
    finally:
        view.close()
    _print_end(task, list(last_lines) if isinstance(view, _LiveView) else [])
    return task


def _print_end(task: Json, last_lines: Sequence[LogLine]) -> None:
    """Print state and result; for a failed task the link, its exit code in words, log lines and a remedy."""
    took = ms_between(task.get("createdAt"), ended_at(task))
    state = task["state"]
    style = "good" if state == "COMPLETED" else "bad"
    screen.print_line(state + (f" in {duration(took)}" if took is not None else ""), style)
    if state == "COMPLETED":
        if result := task.get("result"):
            screen.print_text("result:", result)
        return
    if state == "FAILED":
        _print_failure(task, last_lines)


def _print_failure(task: Json, last_lines: Sequence[LogLine]) -> None:
    link = failed_link(task)
    if link:
        exit_code = exit_words(link.get("exitCode"))
        screen.print_line(f"  failed at {_title(link)}: {exit_code or 'not started'}")
    error = for_terminal(task.get("error") or (link or {}).get("error") or "")
    if error:
        screen.print_line(f"  {error}")
    if last_lines:
        screen.print_line("  last lines of the log:")
    for line in last_lines:
        screen.print_line(f"    {log_line(task, line)}", "faint")
    screen.print_line(f"  full log: ferryman logs {screen.short_id(task['id'])}")
    # An error that names the memory or the time-out says what to change already.
    is_explained = error and any(words in error for words in ("out of memory", "timed out"))
    if not is_explained and (remedy := _REMEDIES.get((link or {}).get("exitCode"))):
        screen.print_line(f"  try: {remedy}")


def header(task: Json) -> str:
    """Return one line with the name, short id and queue."""
    return f"{for_terminal(task['name'])}    {screen.short_id(task['id'])}…   queue {task.get('queue') or 'default'}"


def link_line(link: Json) -> str:
    """Return one line for a link: kind, name, image, exit code in words, duration."""
    return f"{_title(link)}  {for_terminal(link.get('image') or '')}  {_link_outcome(link)}".rstrip()


def log_line(task: Json, line: LogLine) -> str:
    """Return a log line for a terminal; in a chain of several links, the title of its link comes first."""
    text = screen.log_line(line.text)
    title = next((_title(link) for link in links(task) if link["index"] == line.link), "")
    return f"{title} | {text}" if title and len(links(task)) > 1 else text


def attempt_of(task: Json) -> str:
    """Return the number of the present attempt and of all that its retry policy allows: `2 of 4`."""
    limit = int((task.get("retry") or {}).get("limit") or 0)
    return f"{task.get('attempt', 1)} of {limit + 1}"


def retry_line(event: Json) -> str:
    """Return one line for the end of an attempt that is tried again: its number, its error and the delay."""
    return f"attempt {event.get('attempt')} ended: {for_terminal(event.get('reason') or 'it runs again')}"


def waiting_line(task: Json) -> str:
    """Return why a task or job waits, and what to do; "" when nothing holds it up."""
    return for_terminal((task.get("waiting") or {}).get("message") or "")


def _title(link: Json) -> str:
    return for_terminal(link_title(link["kind"], link.get("name"), link["index"]))


def _link_outcome(link: Json) -> str:
    ms = ms_between(link.get("startedAt"), link.get("endedAt"))
    took = f"  {duration(ms)}" if ms is not None else ""
    code, error = link.get("exitCode"), link.get("error")
    if link["state"] == "ENDED" and link.get("startedAt") and (code is None or error == "cancelled"):
        # Ended from above: the task was cancelled, or its time was up while the worker was away.
        words = f", {exit_words(code)}" if code is not None else ""
        return f"{for_terminal(error or 'ended')} after {duration(ms)}{words}"
    if link["state"] == "ENDED":
        return (exit_words(link.get("exitCode")) or "not started") + took
    return {"CONFIRMED": "running", "SKIPPED": "skipped"}.get(link["state"], "waiting")


def _mark(link: Json) -> str:
    if link["state"] == "ENDED":
        return "bad" if link.get("exitCode") != 0 or link.get("error") else "ok"
    return {"CONFIRMED": "now", "SKIPPED": "skip"}.get(link["state"], "wait")


def ended_at(task: Json) -> str | None:
    """Return when the task or job ended; None before."""
    return task.get("completedAt") or task.get("failedAt") or task.get("cancelledAt")


class _PlainView:
    """Plain view: a line for each new fact."""

    def __init__(self) -> None:
        self._task: Json = {}
        self._state = ""
        self._attempt = 1
        self._waiting = ""
        self._shown: set[tuple[object, ...]] = set()

    def take(self, update: Update) -> None:
        if isinstance(update, LogLine):
            screen.print_line(f"  {log_line(self._task, update)}", "warn" if update.stream == 2 else None)
        elif isinstance(update, EventUpdate):
            self._take_event(update)
        else:
            self._take_task(update.task)

    def close(self) -> None:
        """Do nothing: printed lines stay."""

    def _take_task(self, task: Json) -> None:
        self._task = task
        if not self._state:
            screen.print_line(header(task))
        if not self._state or (task["state"] == "RUNNING" != self._state):
            self._state = task["state"]
            screen.print_line(self._state)
        if (waiting := waiting_line(task)) and waiting != self._waiting:
            screen.print_line(f"  {waiting}", "warn")
        self._waiting = waiting
        if task["state"] == "RUNNING" and task["attempt"] > self._attempt:
            self._attempt = task["attempt"]
            screen.print_line(f"attempt {attempt_of(task)}")
        for link in links(task):
            key = (link.get("attempt"), link.get("origin"), link["index"], link["state"])
            if link["state"] != "WAITING" and key not in self._shown:
                self._shown.add(key)
                screen.print_line(link_line(link))

    def _take_event(self, update: EventUpdate) -> None:
        event = update.event
        if update.is_retry:
            screen.print_line(retry_line(event), "warn")
        elif event.get("kind") in _SHOWN_EVENTS:
            screen.print_line(f"{event['kind']}  {for_terminal(event.get('reason') or '')}")


class _LiveView:
    """Header, links and the last log lines, rewritten in place."""

    def __init__(self) -> None:
        from rich.live import Live

        self._console = screen.rich_console()
        self._task: Json = {}
        self._lines: deque[str] = deque(maxlen=_SHOWN_LINES)
        self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=8)
        self._live.start()

    def take(self, update: Update) -> None:
        if isinstance(update, TaskUpdate):
            self._task = update.task
        elif isinstance(update, LogLine):
            self._lines.append(log_line(self._task, update))
        elif update.is_retry:
            self._lines.append(retry_line(update.event))
        elif update.event.get("kind") in _SHOWN_EVENTS:
            self._lines.append(for_terminal(update.event.get("reason") or ""))
        # Live repaints on its own timer: a flood of lines costs at most eight repaints a second.

    def close(self) -> None:
        self._lines.clear()
        self._live.stop()

    def _render(self) -> Text:
        from rich.text import Text

        text = Text(no_wrap=True, overflow="ellipsis")
        if not self._task:
            return text
        task = self._task
        text.append(header(task), "bold")
        text.append(f"   {task['state']}", screen.STATE_STYLES.get(task["state"], ""))
        text.append(f"   attempt {attempt_of(task)}\n" if task.get("attempt", 1) > 1 else "\n")
        width = max(28, *(len(_title(link)) for link in links(task)))
        for link in links(task):
            mark = _mark(link)
            image = for_terminal(link.get("image") or "")
            outcome = _link_outcome(link) if mark != "now" else duration(_running_ms(link))
            text.append(f"  {_MARKS[mark]} ", _MARK_STYLES[mark])
            text.append(f"{_title(link):<{width}} {image:<24} {outcome}\n")
        if waiting := waiting_line(task):
            text.append(f"      {waiting}\n", "yellow")
        for line in self._lines:
            text.append(f"      {line}\n", "dim")
        text.rstrip()
        return text


def _running_ms(link: Json) -> float:
    if not link.get("startedAt"):
        return 0.0
    now = datetime.now(UTC).isoformat()
    return max(0.0, ms_between(link["startedAt"], now) or 0.0)
