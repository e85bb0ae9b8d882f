"""Programs for another processor: docker-init passes them to the image's shell, which reports a syntax error."""

from __future__ import annotations

import logging
import posixpath
from collections.abc import Iterator

from docker.errors import APIError

from engine.errors import RuntimeUnavailable
from engine.runtime.docker import container
from engine.runtime.docker.client import Client, translated

log = logging.getLogger(__name__)

#: Machine number in the header of an ELF file -> Docker's name.
_MACHINES = {
    3: "386",
    8: "mips",
    21: "ppc64le",
    22: "s390x",
    40: "arm",
    62: "amd64",
    183: "arm64",
    243: "riscv64",
}
#: What else a processor runs.
_ALSO_RUNS = {"amd64": ("386",), "arm64": ("arm",)}
_HEADER_BYTES = 20
_MOST_LINKS = 8
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def why_foreign(client: Client, container_id: str) -> str:
    """Return in words that the container's program is for another processor; "" when it is not, or cannot be read."""
    try:
        with translated("looking at a container's program"):
            about = client.api.inspect_container(container_id)
            host = str(client.api.version()["Arch"])
            for path in _candidates(about):
                if header := _header(client, container_id, path):
                    return _words(str(about["Path"]), header, host)
    except (APIError, RuntimeUnavailable, KeyError) as exc:
        # Without the answer the exit code is reported as it is.
        log.debug("the program of container %s is not known: %s", container_id[:12], exc)
    return ""


def _words(program: str, header: bytes, host: str) -> str:
    if header[:4] != b"\x7fELF":
        return ""
    number = int.from_bytes(header[18:20], "little" if header[5] == 1 else "big")
    machine = _MACHINES.get(number, f"machine {number}")
    if machine in (host, *_ALSO_RUNS.get(host, ())):
        return ""
    return f"exec format error: {program!r} is a program for {machine}, and this worker's host is {host}"


def _candidates(about: dict[str, dict[str, object]]) -> Iterator[str]:
    program, config = str(about["Path"]), about["Config"]
    if "/" in program:
        yield posixpath.join("/", str(config.get("WorkingDir") or ""), program)
        return
    env = config.get("Env") or ()
    values = dict(str(entry).partition("=")[::2] for entry in env) if isinstance(env, list) else {}
    for folder in values.get("PATH", _DEFAULT_PATH).split(":"):
        yield posixpath.join("/", folder, program)


def _header(client: Client, container_id: str, path: str) -> bytes:
    """Return the beginning of a file in the container, b"" if there is none; follows symbolic links."""
    for _ in range(_MOST_LINKS):
        shown = container.first_entry(client, container_id, path, _HEADER_BYTES)
        if shown is None:
            return b""
        entry, data = shown
        if not entry.issym():
            return data
        path = posixpath.normpath(posixpath.join(posixpath.dirname(path), entry.linkname))
    return b""
