"""`ferryman nodes` and `drain`: list the workers, and let one leave after its tasks have ended."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import click

from engine.cli import screen
from engine.cli.ids import Id
from engine.cli.submit import api_client
from engine.client import ApiError, ApiUnavailable, Client, Json
from engine.wording.text import for_terminal

_POLL_SECONDS = 0.5
#: Keep waiting while the API is away for at most this long; the node drains anyway.
_PATIENCE_SECONDS = 60.0
#: List at most this many running tasks by name; count all.
_MOST_NAMES = 5


@click.command("nodes")
@click.option("--json", "as_json", is_flag=True, help="Print the workers as JSON.")
def nodes_command(as_json: bool) -> None:
    """List the workers: running ones first, then the ones that ended last."""
    nodes = api_client().nodes()
    if as_json:
        screen.print_json(nodes)
        return
    if not nodes:
        screen.print_line("no workers yet; start one with: celery -A engine worker -Q QUEUE -c SLOTS")
    for node in nodes:
        queues = ", ".join(str(name) for name in node.get("queues") or ())
        id, slots = screen.short_id(node["id"]), node.get("slots", 0)
        line = f"{id}  {node['state']:<8} {slots:>3} slots  {node['name']}  {queues}"
        screen.print_line(for_terminal(line))
        for held in node.get("holds") or ():
            reason = f"held since {held['since']} ({held['kind']}): {held['reason']}"
            screen.print_line(f"{'':<{len(id)}}  {for_terminal(reason)}")


@click.command("drain")
@click.argument("node", type=Id())
@click.option("--follow/--no-wait", "waiting", default=True, help="Wait for the worker to leave (default).")
def drain_command(node: str, waiting: bool) -> None:
    """Let a worker finish its tasks and leave. NODE is its id or name, or a unique beginning of either."""
    client = api_client()
    drained = client.drain(node)
    id = drained["id"]
    screen.print_line(for_terminal(f"{id}  {drained['state']}  {drained['name']}"))
    if not waiting or drained["state"] == "LEFT":
        return
    try:
        state = _wait_for_end(client, id)
    except KeyboardInterrupt:
        screen.print_error("\nThe worker goes on draining. Check it with: ferryman nodes")
        sys.exit(130)
    if state != "LEFT":
        screen.exit_with_error(f"node {id} is {state}, expected LEFT: the worker died; run ferryman doctor")
    screen.print_line(f"{id}  LEFT")


def _wait_for_end(client: Client, id: str) -> str:
    """Wait until the node has ended and return its state; print the running tasks when they change."""
    answered_at, printed = time.monotonic(), ""
    while True:
        try:
            node = client.node(id)
            answered_at = time.monotonic()
        except (ApiUnavailable, ApiError) as exc:
            if isinstance(exc, ApiError) and exc.status == 404:
                return "gone"
            if time.monotonic() - answered_at > _PATIENCE_SECONDS:
                raise
            time.sleep(_POLL_SECONDS)
            continue
        if node["state"] in ("LEFT", "LAPSED"):
            return str(node["state"])
        summary = _running_summary(int(node["running"]), node.get("tasks") or ())
        if summary != printed:
            screen.print_line(for_terminal(summary), "faint")
            printed = summary
        time.sleep(_POLL_SECONDS)


def _running_summary(count: int, tasks: Sequence[Json]) -> str:
    """Return the number of running tasks and the names of the oldest."""
    if not count:
        return "no tasks running"
    names = [f"{screen.short_id(task['id'])} {task['name']}" for task in tasks[:_MOST_NAMES]]
    more = [f"{count - len(names)} more"] if count > len(names) else []
    return f"{count} task{'s' * (count > 1)} still running: {'; '.join(names + more)}"
