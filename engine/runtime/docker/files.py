"""Files that a link and the worker exchange: its `run` and `files`, and the output file.

Each container has a work directory below the data directory, with its delivery in the directory's name. Renaming the
`out` inside makes a container that was created and never started unstartable: see docs/protocol.rst.
"""

from __future__ import annotations

import contextlib
import io
import os
import posixpath
import re
import stat
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import NotOurs
from engine.jobspec import line_ends
from engine.jobspec.container_paths import WORKDIR
from engine.model.records import RunKey
from engine.runtime.base import Order, Resource

#: Ferryman's places in a container, where tasks may not mount anything (engine.jobspec.host_access).
OUT = "/ferryman/out"
RESULT = f"{OUT}/result"
PROGRESS = f"{OUT}/progress"
RUN = "/ferryman/run"
#: Name of an output directory that was renamed to make its container unstartable.
_VOID = "out.void"
#: Task, attempt, origin and link in a work directory's name.
_DIRECTORY = re.compile(r"ferryman-\w+-(\w+)-(\d+)-(\d+)-(\d+)-d\d+")
#: Type bits of Go's FileMode, as in the header of Docker's archives; a regular file has none of them.
_GO_TYPE_BITS = 1 << 31 | 1 << 27 | 1 << 26 | 1 << 25 | 1 << 24 | 1 << 21 | 1 << 19


@dataclass(frozen=True)
class Result:
    """Beginning of the output file."""

    data: bytes
    #: Size of the whole file in bytes.
    size: int


class OutputRefused(Exception):
    """The output file is not a plain file; the message says what it is."""


class OutputUnreadable(Exception):
    """Output that this worker cannot read: its user forbids it, or it is in another worker's data directory."""


def make_root(data_dir: Path) -> Path:
    """Make the folder of all work directories, closed to other users of the host, and return its path."""
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    root = data_dir / "work"
    root.mkdir(exist_ok=True, mode=0o700)
    return root


def contents(order: Order) -> dict[str, tuple[bytes, int]]:
    """Return path in the container -> (data, mode), for `run` and the task's files."""
    run, folder = order.spec.run, order.spec.workdir or WORKDIR
    files = {} if run is None else {RUN: (line_ends.with_line_feeds(run).encode(), 0o555)}
    for name, content in order.spec.files.items():
        text = line_ends.with_line_feeds(content) if line_ends.is_script_file(content) else content
        files[posixpath.normpath(posixpath.join("/", folder, name))] = (text.encode(), 0o444)
    return files


def make_directory(path: Path, order: Order) -> dict[str, Path]:
    """Make the work directory; return path in the container -> file on the host, to be bound read-only.

    Raises NotOurs if a newer delivery made this one unstartable meanwhile.
    """
    make_root(path.parent.parent)
    (path / "in").mkdir(parents=True, exist_ok=True)
    if (path / _VOID).exists():
        raise NotOurs(f"{order.name} was made unstartable by a newer delivery")
    out = path / "out"
    out.mkdir(exist_ok=True)
    # Any user of the image must be able to write there; the data directory is closed to other users of the host.
    out.chmod(0o777)
    bound = {}
    for number, (place, (data, mode)) in enumerate(sorted(contents(order).items())):
        file = path / "in" / str(number)
        fresh = file.with_suffix(".new")
        fresh.write_bytes(data)
        fresh.chmod(mode)
        fresh.replace(file)
        bound[place] = file
    return bound


def make_unstartable(out: Path) -> None:
    """Rename the output directory, so that Docker refuses to start the container that binds it."""
    # If it was renamed before, the second look decides.
    with contextlib.suppress(FileNotFoundError):
        out.rename(out.parent / _VOID)


def read_result(out: Path, limit: int) -> Result | None:
    """Return the output file's first `limit` bytes; None if the task wrote no file.

    The file is read by descriptor: if the task replaced it by a link or a FIFO, that is never followed or opened.
    Raises OutputRefused; OutputUnreadable when the directory is not here, or closed to this user.
    """
    for folder in (out, out.parent / _VOID):
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        except PermissionError as exc:
            raise OutputUnreadable(str(exc)) from exc
        try:
            return _read_in(descriptor, limit)
        finally:
            os.close(descriptor)
    raise OutputUnreadable(f"{out} is not here")


def _read_in(folder: int, limit: int) -> Result | None:
    try:
        # O_PATH only names the file: a device or a FIFO is not opened.
        handle = os.open("result", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return None
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise OutputRefused("it is not a regular file")
        if about.st_nlink != 1:
            raise OutputRefused("it has more than one name")
        with open(os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_CLOEXEC), "rb") as file:
            data = file.read(limit + 1)
        return Result(data[:limit], max(about.st_size, len(data)))
    except PermissionError as exc:
        raise OutputUnreadable(str(exc)) from exc
    finally:
        os.close(handle)


def archive(order: Order) -> bytes:
    """Return a tar with the output directory, `run` and the files, for a daemon that shares no files with us."""
    return tar_of({"ferryman": (None, 0o755), OUT: (None, 0o777), **contents(order)})


def tar_of(entries: Mapping[str, tuple[bytes | None, int]]) -> bytes:
    """Return a tar of path -> (data, mode); without data (None) an entry is a folder."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path, (data, mode) in entries.items():
            info = tarfile.TarInfo(path.lstrip("/"))
            info.mode, info.size = mode, len(data or b"")
            info.type = tarfile.DIRTYPE if data is None else tarfile.REGTYPE
            tar.addfile(info, io.BytesIO(data or b""))
    return packed.getvalue()


def from_archive(about: Mapping[str, Any], pieces: Iterable[bytes], limit: int) -> Result:
    """Return the output file from Docker's archive; its type is checked before anything is read.

    Raises OutputRefused, and tarfile.TarError if the archive is not whole.
    """
    if int(about.get("mode", 0)) & _GO_TYPE_BITS:
        raise OutputRefused("it is not a regular file")
    with tarfile.open(fileobj=_Pieces(iter(pieces)), mode="r|") as tar:
        member = tar.next()
        file = tar.extractfile(member) if member is not None and member.isreg() else None
        if member is None or file is None:
            raise OutputRefused("it is not a regular file")
        data = file.read(limit)
        if len(data) < min(limit, member.size):
            raise tarfile.ReadError("unexpected end of data")
        return Result(data, member.size)


def first_entry(pieces: Iterable[bytes], size: int = 0) -> tuple[tarfile.TarInfo | None, bytes]:
    """Return the first entry of Docker's archive and its first `size` bytes; the rest is not read.

    Raises tarfile.TarError.
    """
    with tarfile.open(fileobj=_Pieces(iter(pieces)), mode="r|") as tar:
        entry = tar.next()
        file = tar.extractfile(entry) if entry is not None and entry.isreg() else None
        return entry, file.read(size) if file is not None else b""


class _Pieces(io.RawIOBase):
    """File object over bytes that arrive in pieces; can be read once."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while size < 0 or len(self._rest) < size:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._rest += piece
        data, self._rest = (self._rest, b"") if size < 0 else (self._rest[:size], self._rest[size:])
        return data


def list_directories(data_dir: Path, installation: str) -> list[Resource]:
    """Return every work directory of this installation below the data directory, with its run."""
    directories = []
    for path in (data_dir / "work").glob(f"ferryman-{installation}-*-d*"):
        if (name := _DIRECTORY.fullmatch(path.name)) is not None:
            run = RunKey(name[1], int(name[2]), int(name[3]))
            directories.append(Resource("directory", path.name, path.name, run, int(name[4])))
    return directories
