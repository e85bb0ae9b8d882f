"""Volumes of a run: made with labels before link 0, checked after the create of every later link.

See docs/protocol.rst.
"""

from __future__ import annotations

from docker.errors import APIError, NotFound

from engine import failpoints
from engine.errors import ErrorAnswer, Gone, MachineFault
from engine.runtime.base import Order
from engine.runtime.docker import labels
from engine.runtime.docker.client import Client, message_of, translated


def make(client: Client, order: Order) -> None:
    """Make the run's volumes; an existing volume stays as it is. Raises MachineFault: a task chooses nothing of it."""
    for name, _ in order.volumes:
        with translated("making a volume"):
            try:
                client.api.create_volume(name=name, driver="local", labels=labels.of_volume(order))
            except APIError as exc:
                raise MachineFault(f"Docker refuses the volume {name}: {message_of(exc)}") from exc


def check(client: Client, order: Order) -> None:
    """Check that the run's volumes are those that link 0 wrote to. Raises Gone.

    Called after the container was created, when nobody can remove the volumes any more. Docker makes a missing
    volume again, without labels: then the run's data is lost.
    """
    wanted = labels.of_volume(order)
    for name, _ in order.volumes:
        try:
            with translated("looking at a volume"):
                texts = client.api.inspect_volume(name).get("Labels") or {}
        except NotFound:
            texts = {}
        if any(texts.get(key) != value for key, value in wanted.items()):
            raise Gone(f"the volume {name} with the data of the earlier links is gone")


def remove(client: Client, name: str) -> None:
    """Remove a volume, if it exists. Raises ErrorAnswer when it stays, for example because it is in use."""
    try:
        with translated("removing a volume"):
            client.api.remove_volume(name)
    except NotFound:
        return
    except APIError as exc:
        raise ErrorAnswer(f"Docker does not remove it: {message_of(exc)}") from exc
    failpoints.hit("remove.volume")


def remove_unlabelled(client: Client, order: Order) -> None:
    """Remove the empty volumes that Docker made in place of missing ones."""
    for name, _ in order.volumes:
        try:
            with translated("removing an empty volume"):
                if not client.api.inspect_volume(name).get("Labels"):
                    client.api.remove_volume(name)
        except APIError as exc:
            if exc.status_code not in (404, 409):
                raise
