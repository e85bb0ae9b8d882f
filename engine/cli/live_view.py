"""Shows a followed task: on a terminal as a picture rewritten in place, else one fact per line."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from engine.cli import screen
from engine.cli.job_stream import Happened, Line, Seen, Update, failed_link, links
from engine.client import Json

if TYPE_CHECKING:
    from rich.text import Text

_SHOWN_LINES = 8
_KEPT_LINES = 12
_MARKS = {"ok": "✓", "bad": "✗", "now": "▸", "wait": "·", "skip": "–"}
_MARK_STYLES = {"ok": "green", "bad": "red", "now": "cyan", "wait": "dim", "skip": "dim"}


class View(Protocol):
    """Takes updates as they come."""

    def take(self, update: Update) -> None:
        """Show it."""

    def close(self) -> None:
        """Leave the screen as it is to stay."""


def watch(updates: Iterator[Update]) -> Json:
    """Show all updates; returns the task as it ended, with its end said."""
    last: deque[Line] = deque(maxlen=_KEPT_LINES)
    task: Json = {}
    view: View = _Live() if screen.is_live() else _Plain()
    try:
        for update in updates:
            if isinstance(update, Seen):
                task = update.task
            elif isinstance(update, Line):
                last.append(update)
            view.take(update)
    finally:
        view.close()
    say_end(task, last, repeat_log=isinstance(view, _Live))
    return task


def say_end(task: Json, last: deque[Line], repeat_log: bool) -> None:
    """How it ended; of a failed one the link, its exit code in words, its last lines and what to try."""
    took = screen.seconds_between(task.get("createdAt"), _ended_at(task))
    state = task["state"]
    style = "good" if state == "COMPLETED" else "bad"
    screen.say(state + (f" in {screen.duration(took)}" if took is not None else ""), style)
    if state == "COMPLETED":
        if result := task.get("result"):
            screen.say_text("result:", result)
        return
    if state == "FAILED":
        _say_failure(task, last if repeat_log else deque())


def _say_failure(task: Json, last: deque[Line]) -> None:
    link = failed_link(task)
    if link:
        words = screen.exit_words(link.get("exitCode"))
        screen.say(f"  failed at {_link_title(link)}: {words or 'not started'}")
    error = screen.harmless(task.get("error") or (link or {}).get("error") or "")
    if error:
        screen.say(f"  {error}")
    if last:
        screen.say("  last lines of its log:")
        for line in last:
            screen.say(f"    {screen.log_line(line.text)}", "faint")
    screen.say(f"  whole log: ferryman logs {screen.short(task['id'])}")
    if advice := _advice(link):
        screen.say(f"  try: {advice}")


def _advice(link: Json | None) -> str:
    code = (link or {}).get("exitCode")
    return {
        125: "look at image, mounts and limits: Docker refused them",
        126: "give a file that may be executed, or run it by its interpreter: cmd: [sh, script]",
        127: "check the first word of cmd or entrypoint against what the image holds; a shell line goes into run:",
        128: "check user and env",
        137: "give it more memory (limits: {memory: 1g}) if it ran out of it, or a longer timeout",
    }.get(code if isinstance(code, int) else 0, "")


def header(task: Json) -> str:
    """Name, short id and queue."""
    return f"{screen.harmless(task['name'])}    {screen.short(task['id'])}…   queue {task.get('queue') or 'default'}"


def link_name(link: Json) -> str:
    """The link's own name, "" when it has none but its kind."""
    name = screen.harmless(link.get("name") or "")
    return "" if name == link["kind"] else name


def link_line(link: Json) -> str:
    """A link as one line: kind, name, image, how it ended, how long it took."""
    return f"{_link_title(link)}  {screen.harmless(link.get('image') or '')}  {_link_end(link)}".rstrip()


def _link_title(link: Json) -> str:
    return f"{link['kind']:<5} {link_name(link)}".rstrip()


def _link_end(link: Json) -> str:
    seconds = screen.seconds_between(link.get("startedAt"), link.get("endedAt"))
    took = f"  {screen.duration(seconds)}" if seconds is not None else ""
    if link["state"] == "ENDED":
        return (screen.exit_words(link.get("exitCode")) or "not started") + took
    return {"CONFIRMED": "runs", "SKIPPED": "skipped"}.get(link["state"], "waits")


def _mark(link: Json) -> str:
    if link["state"] == "ENDED":
        return "bad" if link.get("exitCode") != 0 or link.get("error") else "ok"
    return {"CONFIRMED": "now", "SKIPPED": "skip"}.get(link["state"], "wait")


def _ended_at(task: Json) -> str | None:
    return task.get("completedAt") or task.get("failedAt") or task.get("cancelledAt")


class _Plain:
    """One fact per line; nothing is said twice."""

    def __init__(self) -> None:
        self._state = ""
        self._said: set[tuple[object, ...]] = set()

    def take(self, update: Update) -> None:
        if isinstance(update, Line):
            screen.say(f"  {screen.log_line(update.text)}")
        elif isinstance(update, Happened):
            self._take_event(update.event)
        else:
            self._take_task(update.task)

    def close(self) -> None:
        """Nothing to leave."""

    def _take_task(self, task: Json) -> None:
        if not self._state:
            screen.say(header(task))
        if not self._state or (task["state"] == "RUNNING" != self._state):
            self._state = task["state"]
            screen.say(self._state)
        for link in links(task):
            key = (link.get("attempt"), link.get("origin"), link["index"], link["state"])
            if link["state"] not in ("WAITING",) and key not in self._said:
                self._said.add(key)
                screen.say(link_line(link))

    def _take_event(self, event: Json) -> None:
        if event.get("kind") in ("repair", "late", "note"):
            screen.say(f"{event['kind']}  {screen.harmless(event.get('reason') or '')}")


class _Live:
    """Header, links and the last lines of the log, rewritten in place."""

    def __init__(self) -> None:
        from rich.live import Live

        self._console = screen.console()
        self._task: Json = {}
        self._lines: deque[str] = deque(maxlen=_SHOWN_LINES)
        self._live = Live(console=self._console, get_renderable=self._picture, refresh_per_second=8)
        self._live.start()

    def take(self, update: Update) -> None:
        if isinstance(update, Seen):
            self._task = update.task
        elif isinstance(update, Line):
            self._lines.append(screen.log_line(update.text))
        elif update.event.get("kind") in ("repair", "late", "note"):
            self._lines.append(screen.harmless(update.event.get("reason") or ""))
        # The timer of Live paints: a flood of lines costs eight pictures a second, no more.

    def close(self) -> None:
        self._lines.clear()
        self._live.stop()

    def _picture(self) -> Text:
        from rich.text import Text

        text = Text(no_wrap=True, overflow="ellipsis")
        if not self._task:
            return text
        task = self._task
        text.append(header(task), "bold")
        text.append(f"   {task['state']}\n", screen.STATE_STYLES.get(task["state"], ""))
        width = max(24, *(len(link_name(link)) for link in links(task)))
        for link in links(task):
            mark = _mark(link)
            name = link_name(link)
            end = _link_end(link) if mark != "now" else screen.duration(_running_seconds(link))
            text.append(f"  {_MARKS[mark]} ", _MARK_STYLES[mark])
            text.append(
                f"{link['kind']:<5} {name:<{width}} {screen.harmless(link.get('image') or ''):<24} {end}\n"
            )
        for line in self._lines:
            text.append(f"      {line}\n", "dim")
        text.rstrip()
        return text


def _running_seconds(link: Json) -> float:
    if not link.get("startedAt"):
        return 0.0
    now = datetime.now(UTC).isoformat()
    return max(0.0, screen.seconds_between(link["startedAt"], now) or 0.0)
