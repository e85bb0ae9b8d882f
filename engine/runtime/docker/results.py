"""Results of main links: the output file if the task wrote one, else the last bytes of standard output."""

from __future__ import annotations

import logging
import tarfile
import time
from pathlib import Path

from docker.errors import APIError

from engine.errors import ErrorAnswer, RuntimeUnavailable
from engine.runtime.base import LogSink, Prepared, PreparedState
from engine.runtime.docker import container, files
from engine.runtime.docker.client import message_of, translated
from engine.runtime.docker.frames import half_character
from engine.runtime.docker.host import Host
from engine.runtime.docker.http import RETRY_SECONDS
from engine.runtime.docker.logs import last_of_stdout

log = logging.getLogger(__name__)

#: Most bytes of standard output that are a result.
TAIL_BYTES = 64 << 10
#: What is left of an output directory after this time is removed with the run.
_EMPTY_SECONDS = 15.0


def from_file(host: Host, prepared: Prepared, sink: LogSink) -> str | None:
    """Return the beginning of the output file as text; None if the task wrote no file that may be read.

    A file that is too long or refused is reported by `sink.note`; a task that succeeded does not fail because of it.
    """
    limit = host.settings.result_bytes
    try:
        output = _read(host, prepared, limit)
    except files.OutputRefused as exc:
        sink.note(f"the output file is not read: {exc}")
        return None
    if output is None:
        return None
    if output.size <= limit:
        return decode(output.data, sink)
    sink.note(f"the output file has {output.size} bytes; the first {limit} are the result")
    return decode(output.data[: limit - half_character(output.data)], sink)


def from_log(host: Host, prepared: Prepared, sink: LogSink) -> str:
    """Return the last bytes of standard output from Docker's log, for a container whose log was stored before."""
    limit = min(TAIL_BYTES, host.settings.result_bytes)
    return from_tail(last_of_stdout(host.client, prepared.container_id, limit), limit, sink)


def from_tail(data: bytes, limit: int, sink: LogSink) -> str:
    """Return the last bytes of standard output, at most `limit`, as text that does not begin inside a character."""
    start = 0
    while len(data) == limit and start < 3 and data[start] & 0xC0 == 0x80:
        start += 1
    return decode(data[start:], sink)


def decode(data: bytes, sink: LogSink) -> str:
    """Return bytes as text for a database; a note says when U+FFFD stands for NUL or for what is not UTF-8."""
    text = data.decode("utf-8", "replace").replace("\x00", "\ufffd")
    if places := text.count("\ufffd") - data.count("\ufffd".encode()):
        sink.note(
            f"the result has NUL or bytes that are not UTF-8: U+FFFD stands for them at {places} places"
        )
    return text


def _read(host: Host, prepared: Prepared, limit: int) -> files.Result | None:
    out = output_directory(host, prepared)
    if out is not None:
        try:
            return files.read_result(out, limit)
        except files.OutputUnreadable as exc:
            log.debug("reading the output from Docker's archive: %s", exc)
    for pause in RETRY_SECONDS:
        try:
            return _read_archive(host, prepared, limit)
        except RuntimeUnavailable as exc:
            log.warning("the output file cannot be read, trying again: %s", exc)
            time.sleep(pause)
    return _read_archive(host, prepared, limit)


def _read_archive(host: Host, prepared: Prepared, limit: int) -> files.Result | None:
    try:
        # The archive arrives while it is unpacked.
        with translated("reading the output file"):
            pieces, about = host.client.api.get_archive(prepared.container_id, files.RESULT)
            return files.from_archive(about, pieces, limit)
    except APIError as exc:
        if exc.status_code in (404, 409):
            return None
        raise ErrorAnswer(f"Docker does not return the output file: {message_of(exc)}") from exc
    except tarfile.TarError as exc:
        raise RuntimeUnavailable(f"Docker's archive of the output file was cut short: {exc}") from exc


def output_directory(host: Host, prepared: Prepared) -> Path | None:
    """Return the path of the container's output directory; None if its files were copied by archive."""
    if not host.shared_files.are_shared():
        return None
    if prepared.state is PreparedState.CREATED:
        return host.work_directory(prepared.order) / "out"
    # Another delivery made it, possibly by a worker with another data directory.
    state = container.inspect(host.client, prepared.container_id)
    return state.out if state is not None else None


def empty_output(host: Host, prepared: Prepared) -> None:
    """Remove what an ended container left in its output directory; the directory stays, as Docker knows it."""
    try:
        state = container.inspect(host.client, prepared.container_id)
        if state is None or state.out is None or not state.has_ended:
            return
        deadline = time.monotonic() + _EMPTY_SECONDS
        while not host.erase_path(state.out, state.out.parent) and time.monotonic() < deadline:
            continue
        state.out.mkdir(mode=0o777, exist_ok=True)
    except (RuntimeUnavailable, OSError) as exc:
        log.warning("the output of %s is not emptied: %s", prepared.order.name, exc)
