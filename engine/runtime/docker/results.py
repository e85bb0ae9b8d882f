"""A main link's result: the output file if the task wrote one, else the last bytes of standard output."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from docker.errors import APIError

from engine.errors import RuntimeUnavailable
from engine.runtime.base import LogSink
from engine.runtime.docker import container, files
from engine.runtime.docker.client import Client, translated, words
from engine.runtime.docker.logs import last_of_stdout

log = logging.getLogger(__name__)

#: Of standard output this much is the result, from its end.
TAIL_BYTES = 64 << 10


@dataclass(frozen=True)
class Source:
    """Where a container's result is to be found."""

    client: Client
    container_id: str
    are_files_shared: bool
    #: The output directory, when this thread made the container; None: the container says where it is.
    out: Path | None


def of_file(source: Source, limit: int, sink: LogSink) -> str | None:
    """The output file's first `limit` bytes as text, None when the task wrote none that may be read.

    What is cut or refused is said by `sink.note`: it makes no failure of a task that ended well.
    """
    try:
        written = _written(source, limit)
    except files.Refused as exc:
        sink.note(f"the output file is not read: {exc}")
        return None
    if written is None:
        return None
    if written.size > limit:
        sink.note(f"the output file has {written.size} bytes; the first {limit} are the result")
    return text(written.data)


def of_log(source: Source, limit: int) -> str:
    """The last bytes of standard output, from Docker's log: for a container whose log was stored before."""
    return text(last_of_stdout(source.client, source.container_id, min(TAIL_BYTES, limit)))


def text(data: bytes) -> str:
    """Bytes as text that a database keeps; a character cut in two at the beginning is dropped, NUL is marked."""
    start = 0
    while start < min(3, len(data)) and data[start] & 0xC0 == 0x80:
        start += 1
    return data[start:].decode("utf-8", "replace").replace("\x00", "\ufffd")


def _written(source: Source, limit: int) -> files.Result | None:
    out = _out(source)
    if out is not None:
        try:
            return files.read_result(out, limit)
        except files.Unreadable as exc:
            log.debug("reading the output by archive: %s", exc)
    return _by_archive(source, limit)


def _out(source: Source) -> Path | None:
    """Where the container's output directory is; None: files go by archive."""
    if source.out is not None or not source.are_files_shared:
        return source.out if source.are_files_shared else None
    # Another delivery made it, maybe that of a worker with a data directory of its own.
    state = container.inspect(source.client, source.container_id)
    return state.out if state is not None else None


def _by_archive(source: Source, limit: int) -> files.Result | None:
    try:
        with translated("reading the output file"):
            pieces, about = source.client.api.get_archive(source.container_id, files.RESULT)
    except APIError as exc:
        if exc.status_code == 404:
            return None
        raise RuntimeUnavailable(f"Docker does not give the output file: {words(exc)}") from exc
    return files.from_archive(about, pieces, limit)
