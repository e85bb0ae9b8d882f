"""`ferryman nodes` and `drain`: the workers there are, and how one leaves once its work has ended."""

from __future__ import annotations

import sys
import time

import click

from engine.cli import screen
from engine.cli.submit import connected
from engine.client import ApiError, ApiUnavailable, Client, Json

_EVERY_SECONDS = 0.5
#: An API that is away for a moment ends no waiting; the node goes on anyway.
_PATIENCE_SECONDS = 60.0


@click.command("nodes", short_help="List the workers.")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def nodes_command(as_json: bool) -> None:
    """List the workers: those that beat first, then those that ended last."""
    found = connected().nodes()
    if as_json:
        screen.show_json(found)
        return
    if not found:
        screen.say("no worker has joined yet: celery -A engine worker -Q QUEUE -c SLOTS")
    for node in found:
        queues = ", ".join(str(name) for name in node.get("queues") or ())
        words = (
            f"{node['id'][:8]}  {node['state']:<8} {node.get('slots', 0):>3} slots  {node['name']}  {queues}"
        )
        screen.say(screen.harmless(words))


@click.command("drain", short_help="Have a worker finish what it has and leave.")
@click.argument("node")
@click.option("--follow/--no-wait", "waiting", default=True, help="Wait until it has left (default), or not.")
def drain_command(node: str, waiting: bool) -> None:
    """Drain NODE (its id, its name, or a beginning of either): it takes nothing new, ends its work, and leaves."""
    client = connected()
    found = client.drain(node)
    screen.say(screen.harmless(f"{found['id']}  {found['state']}  {found['name']}"))
    if not waiting or found["state"] == "LEFT":
        return
    try:
        state = _wait(client, found["id"])
    except KeyboardInterrupt:
        screen.complain("\nIt goes on draining. See it with: ferryman nodes")
        sys.exit(130)
    if state != "LEFT":
        screen.fail(f"node {found['id']} is {state}: it did not leave in order; ferryman doctor")
    screen.say(f"{found['id']}  LEFT")


def _wait(client: Client, id: str) -> str:
    """Until it has ended; says what still runs there each time that it changes."""
    heard, said = time.monotonic(), ""
    while True:
        try:
            state, running = _state(client, id), _running(client, id)
            heard = time.monotonic()
        except (ApiUnavailable, ApiError):
            if time.monotonic() - heard > _PATIENCE_SECONDS:
                raise
            time.sleep(_EVERY_SECONDS)
            continue
        if state in ("LEFT", "LAPSED", "gone"):
            return state
        words = "; ".join(f"{screen.short(task['id'])} {task['name']}" for task in running) or "nothing"
        if words != said:
            screen.say(screen.harmless(f"still runs: {words}"), "faint")
            said = words
        time.sleep(_EVERY_SECONDS)


def _state(client: Client, id: str) -> str:
    return next((str(node["state"]) for node in client.nodes() if node["id"] == id), "gone")


def _running(client: Client, id: str) -> list[Json]:
    """The tasks that run there, of the newest hundred running jobs."""
    jobs = client.jobs(size=100, state="RUNNING").get("items") or []
    tasks = [task for job in jobs for task in client.job(job["id"]).get("tasks") or ()]
    return [task for task in tasks if task.get("nodeId") == id and task["state"] == "RUNNING"]
