"""Labels -> what exists on this daemon: containers and volumes of one installation."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.model import names
from engine.model.records import RunKey
from engine.runtime.base import Order, Resource
from engine.runtime.docker.client import Client, translated

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ListedContainer:
    """A container of ours as the list tells it. The list does not wait for a start in flight; inspect does."""

    id: str
    name: str
    state: str
    run: RunKey
    delivery: int


def of_container(order: Order) -> dict[str, str]:
    """The labels of a link's container."""
    return {
        **names.run_labels(order.installation, order.job_id, order.run),
        names.KIND: "container",
        names.LINK: str(order.index),
        names.DELIVERY: str(order.delivery),
    }


def of_volume(order: Order) -> dict[str, str]:
    """The labels of a run's volume."""
    shared = names.run_labels(order.installation, order.job_id, order.run)
    return {**shared, names.KIND: "volume"}


def of_sandbox(installation: str, node_id: str) -> dict[str, str]:
    """The labels of a sandbox: they cannot change, so they name its maker and not who will use it."""
    return {names.INSTALLATION: installation, names.KIND: "sandbox", names.NODE: node_id}


def of_task(client: Client, installation: str, task_id: str) -> list[ListedContainer]:
    """All containers of a task here, in any state."""
    wanted = {names.INSTALLATION: installation, names.TASK: task_id, names.KIND: "container"}
    found = []
    for item in _containers(client, wanted):
        text = item.get("Labels") or {}
        try:
            run, delivery = _run(text), int(text[names.DELIVERY])
        except (KeyError, ValueError):
            log.warning("container %s has labels of ours that cannot be read: left alone", item["Id"][:12])
            continue
        found.append(ListedContainer(item["Id"], _name(item), str(item["State"]), run, delivery))
    return found


def everything(client: Client, installation: str) -> list[Resource]:
    """All containers (any state), volumes and sandboxes of the installation here."""
    wanted = {names.INSTALLATION: installation}
    found = []
    for item in _containers(client, wanted):
        kind = str((item.get("Labels") or {}).get(names.KIND))
        read = _sandbox if kind == "sandbox" else _container
        found.append(read(item))
    with translated("listing the volumes"):
        volumes = client.api.volumes(filters={"label": _texts(wanted)})["Volumes"] or []
    found += [_thing("volume", item["Name"], item["Name"], item) for item in volumes]
    return [thing for thing in found if thing is not None]


def _containers(client: Client, wanted: Mapping[str, str]) -> Sequence[Mapping[str, Any]]:
    with translated("listing the containers"):
        return client.api.containers(all=True, filters={"label": _texts(wanted)})


def _texts(wanted: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in wanted.items()]


def _run(text: Mapping[str, str]) -> RunKey:
    return RunKey(text[names.TASK], int(text[names.ATTEMPT]), int(text[names.ORIGIN]))


def _name(item: Mapping[str, Any]) -> str:
    found = item.get("Names") or ["/"]
    return str(found[0]).lstrip("/")


def _container(item: Mapping[str, Any]) -> Resource | None:
    return _thing("container", item["Id"], _name(item), item)


def _sandbox(item: Mapping[str, Any]) -> Resource:
    node = str((item.get("Labels") or {}).get(names.NODE, ""))
    return Resource("sandbox", item["Id"], _name(item), state=str(item["State"]), node=node)


def _thing(kind: str, id: str, name: str, item: Mapping[str, Any]) -> Resource | None:
    text = item.get("Labels") or {}
    if text.get(names.KIND) != kind:
        return None
    try:
        return Resource(
            kind=kind,
            id=id,
            name=name,
            run=_run(text),
            index=int(text[names.LINK]) if kind == "container" else None,
            state=str(item.get("State", "")) if kind == "container" else "",
        )
    except (KeyError, ValueError):
        log.warning("%s %s has labels of ours that cannot be read: left alone", kind, name)
        return None
