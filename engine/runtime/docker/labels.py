"""Labels of containers, volumes and sandboxes, and lists of what exists on a daemon by label."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from engine.model import names
from engine.model.records import RunKey
from engine.runtime.base import Order, Resource
from engine.runtime.docker.client import Client, translated

log = logging.getLogger(__name__)


def of_container(order: Order) -> dict[str, str]:
    """Return the labels of a link's container."""
    return {
        **names.run_labels(order.installation, order.job_id, order.run),
        names.KIND: "container",
        names.LINK: str(order.index),
        names.DELIVERY: str(order.delivery),
    }


def of_volume(order: Order) -> dict[str, str]:
    """Return the labels of a run's volume."""
    return {**names.run_labels(order.installation, order.job_id, order.run), names.KIND: "volume"}


def of_sandbox(installation: str, node_id: str) -> dict[str, str]:
    """Return the labels of a sandbox. Labels cannot change, so they name its node and not its users."""
    return {names.INSTALLATION: installation, names.KIND: "sandbox", names.NODE: node_id}


def list_containers(client: Client, order: Order) -> list[tuple[RunKey, Resource]]:
    """Return all containers of the order's task on this daemon, in any state, each with its run."""
    wanted = {names.INSTALLATION: order.installation, names.TASK: order.run.task_id, names.KIND: "container"}
    resources = (_of_run("container", item["Id"], _name(item), item) for item in _list(client, wanted))
    return [(resource.run, resource) for resource in resources if resource is not None and resource.run]


def list_resources(client: Client, installation: str) -> list[Resource]:
    """Return all containers (in any state), volumes and sandboxes of the installation on this daemon."""
    wanted = {names.INSTALLATION: installation}
    resources: list[Resource | None] = []
    for item in _list(client, wanted):
        texts, name = item.get("Labels") or {}, _name(item)
        if texts.get(names.KIND) == "sandbox":
            node = str(texts.get(names.NODE, ""))
            resources.append(Resource("sandbox", item["Id"], name, state=str(item["State"]), node=node))
        else:
            resources.append(_of_run("container", item["Id"], name, item))
    with translated("listing the volumes"):
        volumes = client.api.volumes(filters={"label": _filters(wanted)})["Volumes"] or []
    resources += [_of_run("volume", item["Name"], item["Name"], item) for item in volumes]
    return [resource for resource in resources if resource is not None]


def _list(client: Client, wanted: Mapping[str, str]) -> Sequence[Mapping[str, Any]]:
    with translated("listing the containers"):
        return list(client.api.containers(all=True, filters={"label": _filters(wanted)}))


def _filters(wanted: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in wanted.items()]


def _name(item: Mapping[str, Any]) -> str:
    return str((item.get("Names") or ["/"])[0]).lstrip("/")


def _of_run(kind: str, id: str, name: str, item: Mapping[str, Any]) -> Resource | None:
    """Return the container or volume of a run; None for something else with labels of the installation."""
    texts = item.get("Labels") or {}
    if texts.get(names.KIND) != kind:
        return None
    try:
        run = RunKey(texts[names.TASK], int(texts[names.ATTEMPT]), int(texts[names.ORIGIN]))
        if kind == "volume":
            return Resource(kind, id, name, run)
        return Resource(kind, id, name, run, int(texts[names.LINK]), str(item.get("State", "")))
    except (KeyError, ValueError):
        log.warning("%s %s has unreadable labels of Ferryman: left alone, remove it by hand", kind, name)
        return None
