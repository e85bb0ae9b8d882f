"""`ferryman ls`, `show` and `cancel`: what there is, one thing in full, and its end."""

from __future__ import annotations

import click

from engine.cli import screen
from engine.cli.job_stream import links
from engine.cli.live_view import link_line
from engine.cli.submit import connected
from engine.client import Client, Json

_STATES = ("PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED")


@click.command("ls", short_help="List jobs, newest first.")
@click.option("--page", default=1, type=click.IntRange(1), help="Which page.")
@click.option("--size", default=20, type=click.IntRange(1, 100), help="Jobs on a page.")
@click.option("--state", type=click.Choice(_STATES, case_sensitive=False), help="Only those in this state.")
@click.option("--query", "-q", default="", help="Only those with this word.")
@click.option("--json", "as_json", is_flag=True, help="Print the page as JSON.")
def ls_command(page: int, size: int, state: str | None, query: str, as_json: bool) -> None:
    """List jobs, newest first."""
    found = connected().jobs(page, size, query, state or "")
    if as_json:
        screen.show_json(found)
        return
    items = found.get("items") or []
    if not items:
        screen.say("no jobs" + (" that fit" if state or query else " yet: ferryman submit FILE"))
    for job in items:
        screen.say(_job_line(job))
    pages = int(found.get("totalPages") or 1)
    if pages > 1:
        screen.say(
            f"page {found.get('number', page)} of {pages}, {found.get('totalItems')} jobs: --page", "faint"
        )


@click.command("show", short_help="Show one task or job.")
@click.argument("id")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def show_command(id: str, as_json: bool) -> None:
    """Show the task or job ID with links, attempts, result and error."""
    client = connected()
    job, tasks = _found(client, id)
    if as_json:
        screen.show_json(job or tasks[0])
        return
    if job and len(tasks) != 1:
        screen.say(_job_line(job))
    for task in tasks:
        _show_task(task)


@click.command("cancel", short_help="Cancel a task or job.")
@click.argument("id")
def cancel_command(id: str) -> None:
    """Cancel the task or job ID; a running container is killed within two seconds."""
    client = connected()
    task = client.task(id)
    client.cancel(id)
    screen.say(f"{task['id']}  CANCELLED  {screen.harmless(task['name'])}")


def _found(client: Client, id: str) -> tuple[Json | None, list[Json]]:
    """The job with its tasks when the id is a job's, else the task: the API knows either by either's id."""
    task = client.task(id)
    if task["id"].startswith(id.lower()):
        return None, [task]
    job = client.job(id)
    return job, list(job.get("tasks") or ())


def _job_line(job: Json) -> str:
    when = screen.clock(job.get("createdAt"))
    return f"{screen.short(job['id'])}  {job['state']:<9}  {when}  {screen.harmless(job['name'])}"


def _show_task(task: Json) -> None:
    facts = {
        "task": task["id"],
        "job": task.get("jobId"),
        "state": task["state"],
        "queue": f"{task.get('queue')}  priority {task.get('priority', 0)}",
        "created": screen.clock(task.get("createdAt")),
        "started": screen.clock(task.get("startedAt")),
        "ended": screen.clock(task.get("completedAt") or task.get("failedAt") or task.get("cancelledAt")),
        "node": task.get("nodeId"),
        "attempt": _attempt_words(task),
    }
    screen.say(screen.harmless(task["name"]), "strong")
    for label, value in facts.items():
        if value:
            screen.say(f"  {label:<9} {screen.harmless(value)}")
    for link in links(task):
        screen.say(f"  {'link':<9} {link_line(link)}")
        if timings := link.get("timings"):
            said = " · ".join(f"{step} {_milliseconds(ms)}" for step, ms in timings.items() if ms)
            screen.say(f"{'':<14}{said}", "faint")
    for label in ("result", "error"):
        if task.get(label):
            screen.say_text(f"  {label:<9}", task[label])


def _milliseconds(ms: int) -> str:
    return f"{ms} ms" if ms < 1000 else screen.duration(ms / 1000)


def _attempt_words(task: Json) -> str:
    retry = task.get("retry") or {}
    words = f"{task.get('attempt', 1)} of {int(retry.get('limit') or 0) + 1}"
    deliveries = int(task.get("delivery") or 1)
    crashes = int(task.get("crashes") or 0)
    words += f", delivery {deliveries}" if deliveries > 1 else ""
    return words + (f", {crashes} crash{'es' * (crashes != 1)}" if crashes else "")
