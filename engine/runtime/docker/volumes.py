"""Volumes of a run: made with labels before link 0, checked after the create of every later link (protocol 3.7)."""

from __future__ import annotations

from docker.errors import APIError, NotFound

from engine.errors import Gone, Unstartable
from engine.runtime.base import Order
from engine.runtime.docker import labels
from engine.runtime.docker.client import Client, translated, words


def make(client: Client, order: Order) -> None:
    """Make the run's volumes; one that is there already stays as it is."""
    for name, _ in order.volumes:
        try:
            with translated("making a volume"):
                client.api.create_volume(name=name, driver="local", labels=labels.of_volume(order))
        except APIError as exc:
            raise Unstartable(f"the volume cannot be made: {words(exc)}", 125) from exc


def check(client: Client, order: Order) -> None:
    """Make sure that the run's volumes are those that link 0 wrote to.

    Asked after the container was created, when nobody can remove them any more. Docker made a missing one anew,
    without labels: then the run's data is lost, and Gone is raised.
    """
    wanted = labels.of_volume(order)
    for name, _ in order.volumes:
        try:
            with translated("looking at a volume"):
                found = client.api.inspect_volume(name).get("Labels") or {}
        except NotFound:
            found = {}
        if any(found.get(key) != value for key, value in wanted.items()):
            raise Gone(f"the volume {name} with the data of the earlier links is gone")


def remove_unlabelled(client: Client, order: Order) -> None:
    """Remove volumes that Docker made in place of missing ones; nothing was ever written to them."""
    for name, _ in order.volumes:
        try:
            with translated("removing an empty volume"):
                if not client.api.inspect_volume(name).get("Labels"):
                    client.api.remove_volume(name)
        except APIError as exc:
            if exc.status_code not in (404, 409):
                raise
