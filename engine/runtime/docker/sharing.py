"""Whether this process and its daemon share files: a nonce is written here and read through a container.

Nothing is run: a container of an empty image is created with the file bound, and Docker reads it out.
"""

from __future__ import annotations

import contextlib
import io
import secrets
import tarfile
import time
from pathlib import Path

from docker.errors import APIError, ImageNotFound

from engine.model import names
from engine.runtime.docker.client import Client, translated
from engine.runtime.docker.files import Refused, from_archive, make_root

_PLACE = "/ferryman/nonce"
#: A probe that died between create and remove leaves a container; the next one removes it when it is this old.
_OLD_SECONDS = 60


def probe(client: Client, data_dir: Path, installation: str) -> bool:
    """True when a file in `data_dir` can be bound. Raises RuntimeUnavailable."""
    _remove_old(client, installation)
    nonce = secrets.token_hex(16)
    file = make_root(data_dir) / f"probe-{nonce}"
    image = f"ferryman/probe:{nonce}"
    file.write_text(nonce)
    try:
        with translated("probing whether files are shared"):
            client.api.import_image_from_data(_empty(), repository="ferryman/probe", tag=nonce)
            return _read_through(client, image, installation, file) == nonce.encode()
    finally:
        file.unlink(missing_ok=True)
        # Not there when the import failed: what that raised says why.
        with translated("removing the probe"), contextlib.suppress(ImageNotFound):
            client.api.remove_image(image, force=True)


def _read_through(client: Client, image: str, installation: str, file: Path) -> bytes:
    body = {
        "Image": image,
        "Cmd": ["none"],
        "Labels": {names.INSTALLATION: installation, names.KIND: "probe"},
        "HostConfig": {
            "NetworkMode": "none",
            "Mounts": [{"Type": "bind", "Source": str(file), "Target": _PLACE, "ReadOnly": True}],
        },
    }
    try:
        made = client.api.create_container_from_config(body)
    except APIError:
        # 400, the source does not exist: the daemon sees other files than we do.
        return b""
    try:
        pieces, about = client.api.get_archive(made["Id"], _PLACE)
        return from_archive(about, pieces, 64).data
    except (APIError, Refused):
        return b""
    finally:
        client.api.remove_container(made["Id"], force=True)


def _remove_old(client: Client, installation: str) -> None:
    wanted = {"label": [f"{names.INSTALLATION}={installation}", f"{names.KIND}=probe"]}
    with translated("looking for old probes"):
        for item in client.api.containers(all=True, filters=wanted):
            if time.time() - item["Created"] > _OLD_SECONDS:
                client.api.remove_container(item["Id"], force=True)


def _empty() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        info = tarfile.TarInfo("ferryman")
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(info)
    return packed.getvalue()
