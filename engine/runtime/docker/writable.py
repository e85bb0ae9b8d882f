"""Places that Ferryman makes in a container, made writable for a user who is not root."""

from __future__ import annotations

import tarfile

from docker.errors import APIError

from engine.errors import RuntimeUnavailable, Unstartable
from engine.jobspec.container_paths import WORKDIR
from engine.runtime.base import Order
from engine.runtime.docker import blame, files
from engine.runtime.docker.client import Client, message_of, translated
from engine.runtime.docker.host import Host

_ROOT = ("", "0", "root")
#: Mode of the directories that Docker makes.
_OF_DOCKER = 0o755


def open_to_user(host: Host, order: Order, container_id: str) -> None:
    """Let the container's user write to the run's volumes and to the working directory that Ferryman chose.

    Docker makes both for root. A directory with an owner or a mode of its own, which the image brought along, stays
    as it is. Raises Unstartable, MachineFault. Nothing is asked of Docker for a root user, or without such a directory.
    """
    client = host.client
    places = [target for _, target in order.volumes]
    if order.spec.files and not order.spec.workdir:
        places.append(WORKDIR)
    if not places or _is_root(client, order, container_id):
        return
    entries: dict[str, tuple[bytes | None, int]] = {
        place: (None, 0o777) for place in places if _is_closed(client, container_id, place)
    }
    if not entries:
        return
    with translated("opening directories to the container's user"):
        try:
            client.api.put_archive(container_id, "/", files.tar_of(entries))
        except APIError as exc:
            reason = f"Docker does not open {', '.join(entries)} to the user"
            raise blame.of_request(order, reason, exc, host.data_dir) from exc


def _is_root(client: Client, order: Order, container_id: str) -> bool:
    user = order.spec.user
    if user is None:
        with translated("looking at a container"):
            user = str(client.api.inspect_container(container_id)["Config"].get("User") or "")
    return user.partition(":")[0] in _ROOT


def _is_closed(client: Client, container_id: str, place: str) -> bool:
    """Return whether the directory is as Docker makes one: only root may write to it."""
    try:
        with translated("looking at a directory of a container"):
            pieces, _ = client.api.get_archive(container_id, place)
            owner, _ = files.first_entry(pieces)
    except APIError as exc:
        if exc.status_code == 404:
            return True
        raise Unstartable(f"Docker does not show {place}: {message_of(exc)}", 125) from exc
    except tarfile.TarError as exc:
        raise RuntimeUnavailable(f"Docker's archive of {place} was cut short: {exc}") from exc
    return owner is None or (owner.isdir() and owner.uid == 0 and owner.mode & 0o7777 == _OF_DOCKER)
