"""`ferryman nodes` and `drain`: the workers there are, and how one leaves once its work has ended."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import click

from engine.cli import screen
from engine.cli.submit import connected
from engine.client import ApiError, ApiUnavailable, Client, Json

_EVERY_SECONDS = 0.5
#: An API that is away for a moment ends no waiting; the node goes on anyway.
_PATIENCE_SECONDS = 60.0
#: Of what still runs so many are named; all are counted.
_NAMED = 5


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
            node = client.node(id)
            heard = time.monotonic()
        except (ApiUnavailable, ApiError) as exc:
            if isinstance(exc, ApiError) and exc.status == 404:
                return "gone"
            if time.monotonic() - heard > _PATIENCE_SECONDS:
                raise
            time.sleep(_EVERY_SECONDS)
            continue
        if node["state"] in ("LEFT", "LAPSED"):
            return str(node["state"])
        words = _in_words(int(node["running"]), node.get("tasks") or ())
        if words != said:
            screen.say(screen.harmless(words), "faint")
            said = words
        time.sleep(_EVERY_SECONDS)


def _in_words(count: int, known: Sequence[Json]) -> str:
    """How many tasks still run there, and which the oldest are."""
    if not count:
        return "nothing runs there any more"
    named = [f"{screen.short(task['id'])} {task['name']}" for task in known[:_NAMED]]
    more = [f"{count - len(named)} more"] if count > len(named) else []
    return f"{count} task{'s' * (count > 1)} still run{'s' * (count == 1)}: {'; '.join(named + more)}"
