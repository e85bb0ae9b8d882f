"""Screen of the demo for one task: states, links and log lines as they come, then result and JSON."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import setup_python
from setup_screen import WIDTH, Stop, say

from engine.cli import files, problem_report, screen
from engine.cli.job_stream import ENDED, LogLine, TaskUpdate, follow, links
from engine.cli.validate import check_file
from engine.client import ApiError, Client
from engine.jobspec.problems import Invalid
from engine.settings import Settings
from engine.standalone import ports
from engine.wording.durations import duration
from engine.wording.exit_codes import exit_words
from engine.wording.links import link_title
from engine.wording.text import for_terminal
from engine.wording.times import ms_between

if TYPE_CHECKING:
    from engine.jobspec.task import TaskSpec

PORT = 3000


def read(file: str, name: str) -> tuple[bytes, TaskSpec]:
    """Return the text of the file and its task. Raises Stop after it has shown problems as `ferryman validate` does."""
    if not os.path.isfile(file):
        raise Stop(f"{name}: no such file")
    text = files.read(file)
    try:
        return text, check_file(file, text, Settings.from_env())
    except Invalid as exc:
        problem_report.print_problems(name, text, exc.problems)
        raise Stop("Nothing was started.") from exc


def port() -> tuple[int, str]:
    """Return port 3000 and "", or 0 for any free port and the reason if port 3000 is in use."""
    try:
        ports.listen("127.0.0.1", PORT).close()
    except ports.PortInUse:
        holder = ports.find_owner(PORT)
        by = f"process {holder.pid}, {holder.command}" if holder else "another process"
        return 0, f" (port {PORT} is in use by {by})"
    return PORT, ""


def short_broker(words: str) -> str:
    """Shorten the stand-alone's description of its broker, for example to "valkey 9.1 (embedded)"."""
    title, _, rest = words.partition(",")
    return f"{title} (embedded)" if "embedded" in rest else title


def run(url: str, name: str, file: str, text: bytes) -> dict[str, Any]:
    """Submit over HTTP, show what happens until the task has ended, and return the ended task."""
    client = Client(url)
    say()
    try:
        task = client.submit(text, files.media_type(file))
    except ApiError as exc:
        raise Stop(f"POST /task  {name}  →  {exc.status}  {exc}", 1) from exc
    say(f"POST /task  {name}  →  201  {task['id']}")
    shown = _Shown()
    for update in follow(client, task):
        if isinstance(update, TaskUpdate):
            shown.take(update.task)
            task = update.task
        elif isinstance(update, LogLine):
            shown.log(update)
        elif update.event.get("kind") == "task":
            shown.state(task, str(update.event.get("to") or ""))
    shown.end(task)
    return task


class _Shown:
    """Output for pipes and terminals alike: a new state continues the line of states if no other line came between."""

    def __init__(self) -> None:
        self._states: list[str] = []
        self._open = False
        self._links: set[tuple[object, ...]] = set()

    def state(self, task: dict[str, Any], to: str) -> None:
        if not to or self._states[-1:] == [to]:
            return
        self._states.append(to)
        if self._open:
            print(f" → {to}", end="", flush=True)
        else:
            lead = f"→ {to}" if len(self._states) > 1 else to
            print(f"  {for_terminal(task['name'])}   {lead}", end="", flush=True)
            self._open = True

    def take(self, task: dict[str, Any]) -> None:
        for link in links(task):
            key = (link.get("attempt"), link.get("origin"), link["index"], link["state"])
            if link["state"] == "WAITING" or key in self._links:
                continue
            self._links.add(key)
            if link["state"] == "ENDED":
                outcome = exit_words(link.get("exitCode")) or "not started"
                self._line(
                    f"    {_title(link)}   {outcome}", ms_between(link.get("startedAt"), link.get("endedAt"))
                )
            elif link["state"] == "SKIPPED":
                self._line(f"    {_title(link)}   skipped", None)

    def log(self, line: LogLine) -> None:
        self._line(f"      {'' if line.stream == 0 else '| '}{screen.log_line(line.text)}", None)

    def end(self, task: dict[str, Any]) -> None:
        """Print the result, the seconds from POST to the end, and the task as JSON."""
        ended = task.get("completedAt") or task.get("failedAt") or task.get("cancelledAt")
        took_ms = ms_between(task.get("createdAt"), ended)
        self._line(f"  {for_terminal(task['name'])}   {task['state']}", took_ms)
        for label in ("result", "error"):
            if task.get(label):
                screen.print_text(f"  {label:<9}", task[label])
        assert task["state"] in ENDED
        say()
        say(json.dumps(task, indent=2))

    def _line(self, words: str, took_ms: float | None) -> None:
        if self._open:
            print(flush=True)
            self._open = False
        took = duration(took_ms)
        say(words + (" " * max(2, WIDTH - len(words) - len(took)) + took if took else ""))


def _title(link: dict[str, Any]) -> str:
    title = link_title(link["kind"], link.get("name"), link["index"])
    return for_terminal(f"{title}   {link.get('image') or ''}")


def say_next() -> None:
    """Print the commands to try next."""
    command = os.path.relpath(os.path.join(setup_python.VENV, "bin", "ferryman"))
    say(f"Next   {command + ' standalone':<38} the same stack until you stop it, with its dashboard")
    say(f"       {'deploy/demo examples/convert.yaml':<38} pre, main and post with ffmpeg (needs internet)")
    say(f"       {'deploy/test':<38} the whole test suite")
