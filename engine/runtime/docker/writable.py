"""Places that Ferryman makes in a container, made writable for a user who is not root."""

from __future__ import annotations

from docker.errors import APIError

from engine.jobspec.container_paths import WORKDIR
from engine.runtime.base import Order
from engine.runtime.docker import blame, container, files
from engine.runtime.docker.client import Client, translated
from engine.runtime.docker.host import Host

_ROOT = ("", "0", "root")
#: Mode of the directories that Docker makes.
_OF_DOCKER = 0o755


def open_to_user(host: Host, order: Order, container_id: str) -> None:
    """Let the container's user write to the run's volumes and to the working directory that Ferryman chose.

    Docker makes both for root. A directory with an owner or a mode of its own, which the image brought along, stays
    as it is. Raises Unstartable, MachineFault. Nothing is asked of Docker for a root user, or without such a directory.
    """
    places = [target for _, target in order.volumes]
    if order.spec.files and not order.spec.workdir:
        places.append(WORKDIR)
    if not places or _is_root(host.client, order, container_id):
        return
    entries: dict[str, tuple[bytes | None, int]] = {
        place: (None, 0o777) for place in places if _is_closed(host, order, container_id, place)
    }
    if not entries:
        return
    refusal = f"Docker does not open {', '.join(entries)} to the user"
    container.copy_in(host, order, container_id, files.tar_of(entries), refusal)


def _is_root(client: Client, order: Order, container_id: str) -> bool:
    user = order.spec.user
    if user is None:
        with translated("looking at a container"):
            user = str(client.api.inspect_container(container_id)["Config"].get("User") or "")
    return user.partition(":")[0] in _ROOT


def _is_closed(host: Host, order: Order, container_id: str, place: str) -> bool:
    """Return whether the directory is as Docker makes one, only root may write to it, or is still to be made."""
    try:
        shown = container.first_entry(host.client, container_id, place)
    except APIError as exc:
        raise blame.of_request(order, f"Docker does not show {place}", exc, host.data_dir) from exc
    if shown is None:
        return True
    owner, _ = shown
    return owner.isdir() and owner.uid == 0 and owner.mode & 0o7777 == _OF_DOCKER
