"""Opening of what users of containers closed: Docker does it for a worker that is not root.

A task that runs as root leaves directories that an unprivileged worker cannot empty. Docker unpacks an archive as
root, and an archive that names a directory again changes its mode. The container that it is unpacked through binds
the work directory and never runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from docker.errors import APIError

from engine.errors import ErrorAnswer
from engine.runtime.docker import probes
from engine.runtime.docker.client import Client, message_of, translated
from engine.runtime.docker.files import tar_of
from engine.runtime.docker.troubles import Troubles

_TARGET = f"{probes.FOLDER}/work"


def open_directories(
    client: Client,
    data_dir: Path,
    installation: str,
    troubles: Troubles,
    directory: Path,
    closed: Sequence[str],
) -> None:
    """Let everybody read and change these directories of a work directory, which only this user can reach.

    No container may use the work directory any more. Raises RuntimeUnavailable, OSError.
    """
    mount = {"Type": "bind", "Source": str(directory), "Target": _TARGET}
    archive = tar_of({name: (None, 0o777) for name in closed})
    try:
        with (
            probes.make(client, data_dir, installation, troubles) as probe,
            translated("opening directories of another user"),
        ):
            client.api.create_container_from_config(probe.body([mount]), probe.name)
            client.api.put_archive(probe.name, _TARGET, archive)
    except APIError as exc:
        raise ErrorAnswer(f"Docker does not open the directories of another user: {message_of(exc)}") from exc
