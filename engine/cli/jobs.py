"""`ferryman ls`, `show` and `cancel`: list jobs, show or cancel one task or job."""

from __future__ import annotations

import click

from engine.cli import screen
from engine.cli.ids import Id
from engine.cli.job_stream import links
from engine.cli.live_view import attempt_of, ended_at, link_line, waiting_line
from engine.cli.submit import api_client
from engine.client import Client, Json
from engine.wording.durations import duration
from engine.wording.text import for_terminal
from engine.wording.times import ms_between

_STATES = ("PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED")


@click.command("ls")
@click.option("--page", default=1, type=click.IntRange(1), help="Number of the page.")
@click.option("--size", default=20, type=click.IntRange(1, 100), help="Jobs per page.")
@click.option("--state", type=click.Choice(_STATES, case_sensitive=False), help="Only jobs in this state.")
@click.option("--query", "-q", default="", help="Only jobs that contain these words; tag:x for a tag.")
@click.option("--json", "as_json", is_flag=True, help="Print the page as JSON.")
def ls_command(page: int, size: int, state: str | None, query: str, as_json: bool) -> None:
    """List jobs, newest first."""
    answer = api_client().jobs(page, size, query, state or "")
    if as_json:
        screen.print_json(answer)
        return
    items = answer.get("items") or []
    pages = int(answer.get("totalPages") or 1)
    if items:
        screen.print_line(f"{'ID':<8}  {'STATE':<9}  {'CREATED':<19}  {'TOOK':<7}  NAME", "faint")
    elif page > pages and answer.get("totalItems"):
        screen.print_line(f"there is no page {page}")
    else:
        hint = "no jobs match" if state or query else "no jobs yet; submit one with: ferryman submit FILE"
        screen.print_line(hint)
    for job in items:
        screen.print_line(_job_line(job))
    if pages > 1:
        number = f"page {page} of {pages}" if items else f"the last page is {pages}"
        text = f"{number}, {answer.get('totalItems')} jobs; choose with --page"
        screen.print_line(text, "faint")


@click.command("show")
@click.argument("id", type=Id())
@click.option("--json", "as_json", is_flag=True, help="Print the task or job as JSON.")
def show_command(id: str, as_json: bool) -> None:
    """Show the task or job ID with its links, attempts, result and error."""
    client = api_client()
    job, tasks = _task_or_job(client, id)
    if as_json:
        screen.print_json(job or tasks[0])
        return
    if job and len(tasks) != 1:
        screen.print_line(_job_line(job))
    for task in tasks:
        _show_task(task)


@click.command("cancel")
@click.argument("id", type=Id())
def cancel_command(id: str) -> None:
    """Cancel the task or job ID; a running container is killed within two seconds."""
    client = api_client()
    task = client.task(id)
    client.cancel(id)
    already = "  (it was cancelled before)" if task["state"] == "CANCELLED" else ""
    screen.print_line(f"{task['id']}  CANCELLED  {for_terminal(task['name'])}{already}")


def _task_or_job(client: Client, id: str) -> tuple[Json | None, list[Json]]:
    """Return the job and its tasks for a job's id, only the task for a task's id; the API accepts both ids."""
    task = client.task(id)
    if task["id"].startswith(id.lower()):
        return None, [task]
    job = client.job(id)
    return job, list(job.get("tasks") or ())


def _job_line(job: Json) -> str:
    when = screen.local_time(job.get("createdAt"))
    took = duration(ms_between(job.get("startedAt"), ended_at(job)))
    waiting = f"  ({waiting_line(job)})" if waiting_line(job) else ""
    facts = f"{screen.short_id(job['id'])}  {job['state']:<9}  {when}  {took:<7}"
    return f"{facts}  {for_terminal(job['name'])}{waiting}"


def _show_task(task: Json) -> None:
    facts = {
        "task": task["id"],
        "job": task.get("jobId"),
        "state": task["state"],
        "queue": f"{task.get('queue')}  priority {task.get('priority', 0)}",
        "created": screen.local_time(task.get("createdAt")),
        "started": screen.local_time(task.get("startedAt")),
        "ended": screen.local_time(ended_at(task)),
        "node": task.get("nodeId"),
        "attempt": _attempt_summary(task),
    }
    screen.print_line(for_terminal(task["name"]), "strong")
    for label, value in facts.items():
        if value:
            screen.print_line(f"  {label:<9} {for_terminal(value)}")
    if waiting := waiting_line(task):
        screen.print_line(f"  {'waits':<9} {waiting}", "warn")
    for attempt in (task.get("attempts") or ())[: task.get("attempt", 1) - 1]:
        screen.print_line(f"  {'attempt':<9} {_past_attempt(attempt)}")
    for link in links(task):
        screen.print_line(f"  {'link':<9} {link_line(link)}")
        if timings := link.get("timings"):
            spans = " · ".join(f"{span} {duration(ms)}" for span, ms in timings.items() if ms)
            screen.print_line(f"{'':<14}{spans}", "faint")
    for label in ("result", "error"):
        if task.get(label):
            screen.print_text(f"  {label:<9}", task[label])


def _past_attempt(attempt: Json) -> str:
    took = ms_between(attempt.get("startedAt"), attempt.get("endedAt"))
    words = [f"{attempt['attempt']}", attempt["state"], duration(took) if took is not None else ""]
    return "  ".join(filter(None, [*words, for_terminal(attempt.get("error") or "")]))


def _attempt_summary(task: Json) -> str:
    words = attempt_of(task)
    deliveries = int(task.get("delivery") or 1)
    crashes = int(task.get("crashes") or 0)
    words += f", delivery {deliveries}" if deliveries > 1 else ""
    return words + (f", {crashes} crash{'es' * (crashes != 1)}" if crashes else "")
