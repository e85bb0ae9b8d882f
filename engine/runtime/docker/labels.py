"""Labels of containers, volumes and sandboxes, and lists of what exists on a daemon by label.

Labels alone prove nothing: a container that somebody starts from a `docker commit` of a link has them too. Ferryman's
is what bears the labels and the name that they spell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.model import names
from engine.model.records import RunKey
from engine.runtime.base import Order, Resource
from engine.runtime.docker.client import Client, translated

_UNREADABLE = "its labels of Ferryman cannot be read: remove it by hand when nobody needs it"
_OTHER_NAME = "it has labels of Ferryman, but not the name that they spell: it is somebody else's"


@dataclass(frozen=True)
class Stranger:
    """Container or volume with labels of this installation that is left alone; `reason` says why."""

    kind: str
    name: str
    reason: str


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


def of_probe(installation: str) -> dict[str, str]:
    """Return the labels of a probe's container and image."""
    return {names.INSTALLATION: installation, names.KIND: "probe"}


def list_containers(client: Client, order: Order) -> list[tuple[RunKey, Resource]]:
    """Return all containers of the order's task on this daemon, in any state, each with its run."""
    wanted = {names.INSTALLATION: order.installation, names.TASK: order.run.task_id, names.KIND: "container"}
    resources = [_container(order.installation, item) for item in _list(client, wanted)]
    return [(r.run, r) for r in resources if isinstance(r, Resource) and r.run is not None]


def list_resources(client: Client, installation: str) -> tuple[list[Resource], list[Stranger]]:
    """Return all containers (in any state), volumes and sandboxes of the installation, and what is left alone."""
    wanted = {names.INSTALLATION: installation}
    items: list[Resource | Stranger] = []
    for item in _list(client, wanted):
        kind = _texts(item).get(names.KIND)
        if kind == "sandbox":
            items.append(_sandbox(installation, item))
        elif kind == "container":
            items.append(_container(installation, item))
    with translated("listing the volumes"):
        volumes = client.api.volumes(filters={"label": _filters(wanted)})["Volumes"] or []
    items += [_volume(installation, item) for item in volumes if _texts(item).get(names.KIND) == "volume"]
    resources = [item for item in items if isinstance(item, Resource)]
    return resources, [item for item in items if isinstance(item, Stranger)]


def container_names(item: Mapping[str, Any]) -> list[str]:
    """Return all names of a listed container."""
    return [str(name).lstrip("/") for name in item.get("Names") or ()]


def delivery(texts: Mapping[str, str]) -> int:
    """Return the delivery that created a container; 0 if its label is missing or is not a number."""
    text = texts.get(names.DELIVERY, "")
    return int(text) if text.isdecimal() else 0


def _list(client: Client, wanted: Mapping[str, str]) -> Sequence[Mapping[str, Any]]:
    with translated("listing the containers"):
        items = client.api.containers(all=True, filters={"label": _filters(wanted)})
    # Docker takes the names from a container that it is removing.
    return [item for item in items if item.get("Names")]


def _filters(wanted: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in wanted.items()]


def _texts(item: Mapping[str, Any]) -> Mapping[str, str]:
    return item.get("Labels") or {}


def _run(texts: Mapping[str, str]) -> RunKey:
    return RunKey(texts[names.TASK], int(texts[names.ATTEMPT]), int(texts[names.ORIGIN]))


def _container(installation: str, item: Mapping[str, Any]) -> Resource | Stranger:
    texts = _texts(item)
    try:
        run, index = _run(texts), int(texts[names.LINK])
        int(texts[names.DELIVERY])
    except (KeyError, ValueError):
        return _stranger("container", item, _UNREADABLE)
    name = names.container(installation, run, index)
    if name not in container_names(item):
        return _stranger("container", item, _OTHER_NAME)
    return Resource("container", item["Id"], name, run, index, str(item.get("State", "")))


def _sandbox(installation: str, item: Mapping[str, Any]) -> Resource | Stranger:
    node = str(_texts(item).get(names.NODE, ""))
    # A trial container joins a sandbox once, to see whether that is possible.
    pattern = re.compile(re.escape(names.sandbox(installation, node, 0)).removesuffix("0") + r"\d+(-trial)?")
    name = next((name for name in container_names(item) if pattern.fullmatch(name)), None)
    if name is None:
        return _stranger("sandbox", item, _OTHER_NAME)
    return Resource("sandbox", item["Id"], name, state=str(item.get("State", "")), node=node)


def _volume(installation: str, item: Mapping[str, Any]) -> Resource | Stranger:
    name = str(item["Name"])
    try:
        run = _run(_texts(item))
    except (KeyError, ValueError):
        return Stranger("volume", name, _UNREADABLE)
    pattern = re.escape(names.volume(installation, run, 0)).removesuffix("0") + r"\d+"
    if not re.fullmatch(pattern, name):
        return Stranger("volume", name, _OTHER_NAME)
    return Resource("volume", name, name, run)


def _stranger(kind: str, item: Mapping[str, Any], reason: str) -> Stranger:
    return Stranger(kind, ", ".join(container_names(item)), reason)
