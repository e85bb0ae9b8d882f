"""What a link and the worker exchange as files: its `run` and `files`, and the result it leaves.

Each container has a directory of its own below the data directory, whose name holds the delivery that made it:
renaming its `out` away makes a container that was created and never started unstartable (protocol 3.4).
"""

from __future__ import annotations

import errno
import io
import os
import posixpath
import re
import shutil
import stat
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import NotOurs
from engine.model.records import RunKey
from engine.runtime.base import Order, Resource

#: Where a container finds what is Ferryman's; mounts of tasks may not lie there (jobspec.doors).
OUT = "/ferryman/out"
RESULT = f"{OUT}/result"
PROGRESS = f"{OUT}/progress"
RUN = "/ferryman/run"
#: Where `files` land when the task names no workdir (Tork's rule).
WORKDIR = "/tork/workdir"
_VOID = "out.void"
#: Task, attempt, origin and link in a work directory's name.
_DIRECTORY = re.compile(r"ferryman-\w+-(\w+)-(\d+)-(\d+)-(\d+)-d\d+")
#: Type bits of Go's FileMode, as the archive's header tells them: none is set for a regular file.
_GO_TYPE_BITS = 1 << 31 | 1 << 27 | 1 << 26 | 1 << 25 | 1 << 24 | 1 << 21 | 1 << 19


@dataclass(frozen=True)
class Result:
    """What the output file held: at most the limit, and how large the file is (bytes)."""

    data: bytes
    size: int


class Refused(Exception):
    """The output is no plain file; the message says what it is instead."""


class Unreadable(Exception):
    """The output may not be read from here: the container's user made it so, or another worker's directory has it."""


def directory(data_dir: Path, name: str, delivery: int) -> Path:
    """The work directory of the container that this delivery made."""
    return data_dir / "work" / f"{name}-d{delivery}"


def make_root(data_dir: Path) -> Path:
    """Make the folder of all work directories, closed to other users of the host; returns it."""
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    root = data_dir / "work"
    root.mkdir(exist_ok=True, mode=0o700)
    return root


def placed(order: Order) -> dict[str, tuple[str, int]]:
    """Path in the container -> (text, mode): `run` and the task's files."""
    found = {} if order.spec.run is None else {RUN: (order.spec.run, 0o555)}
    folder = order.spec.workdir or WORKDIR
    for name, text in order.spec.files.items():
        found[posixpath.normpath(posixpath.join("/", folder, name))] = (text, 0o444)
    return found


def make(path: Path, order: Order) -> dict[str, Path]:
    """Make the work directory; returns path in the container -> file here, for what is to be bound read-only.

    Raises NotOurs when a newer delivery made this one unstartable meanwhile.
    """
    make_root(path.parent.parent)
    (path / "in").mkdir(parents=True, exist_ok=True)
    if (path / _VOID).exists():
        raise NotOurs(f"{order.name} was given up by a newer delivery")
    out = path / "out"
    out.mkdir(exist_ok=True)
    # Any user of the image must be able to write there; the data directory above lets no other user of the host in.
    out.chmod(0o777)
    found = {}
    for number, (place, (text, mode)) in enumerate(sorted(placed(order).items())):
        file = path / "in" / str(number)
        half = file.with_suffix(".new")
        half.write_bytes(text.encode())
        half.chmod(mode)
        half.replace(file)
        found[place] = file
    return found


def make_unstartable(out: Path) -> None:
    """Rename the output directory away: a start of the container that binds it is refused from now on."""
    try:
        out.rename(out.parent / _VOID)
    except FileNotFoundError:
        # Renamed before: the second look decides.
        return


def read_result(out: Path, limit: int) -> Result | None:
    """The output file's first `limit` bytes; None when the task wrote none.

    Read by descriptor: what the task made of the name meanwhile, a link or a FIFO, is never followed or opened.
    Raises Refused; Unreadable when the directory is not here, or not for this user.
    """
    for folder in (out, out.parent / _VOID):
        try:
            at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        except PermissionError as exc:
            raise Unreadable(str(exc)) from exc
        try:
            return _read_at(at, limit)
        finally:
            os.close(at)
    raise Unreadable(f"{out} is not here")


def _read_at(folder: int, limit: int) -> Result | None:
    try:
        # O_PATH opens nothing: not a device, not a FIFO.
        handle = os.open("result", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return None
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise Refused("it is no regular file")
        if about.st_nlink != 1:
            raise Refused("it has more than one name")
        with open(os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_CLOEXEC), "rb") as file:
            data = file.read(limit + 1)
        return Result(data[:limit], max(about.st_size, len(data)))
    except PermissionError as exc:
        raise Unreadable(str(exc)) from exc
    finally:
        os.close(handle)


def archive(order: Order) -> bytes:
    """A tar with the output directory, `run` and the files, for a daemon that shares no files with us."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for folder, mode in (("ferryman", 0o755), (OUT.lstrip("/"), 0o777)):
            info = tarfile.TarInfo(folder)
            info.type, info.mode = tarfile.DIRTYPE, mode
            tar.addfile(info)
        for place, (text, mode) in placed(order).items():
            info = tarfile.TarInfo(place.lstrip("/"))
            data = text.encode()
            info.size, info.mode = len(data), mode
            tar.addfile(info, io.BytesIO(data))
    return packed.getvalue()


def from_archive(about: Mapping[str, Any], pieces: Iterable[bytes], limit: int) -> Result:
    """The output file out of Docker's archive; type and size are checked before anything is read.

    Raises Refused.
    """
    if int(about.get("mode", 0)) & _GO_TYPE_BITS:
        raise Refused("it is no regular file")
    with tarfile.open(fileobj=_Pieces(iter(pieces)), mode="r|") as tar:
        member = tar.next()
        file = tar.extractfile(member) if member is not None and member.isreg() else None
        if member is None or file is None:
            raise Refused("it is no regular file")
        return Result(file.read(limit), member.size)


class _Pieces(io.RawIOBase):
    """Bytes that come in pieces, as a file that is read once."""

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
        found, self._rest = (self._rest, b"") if size < 0 else (self._rest[:size], self._rest[size:])
        return found


def remove(data_dir: Path, name: str) -> bool:
    """Remove the work directories of every delivery of a container; False when something of them stays."""
    gone = True
    for path in (data_dir / "work").glob(f"{name}-d*"):
        gone = remove_directory(path) and gone
    return gone


def remove_directory(path: Path) -> bool:
    """Remove one work directory; False when the container's user made it so that this user may not."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return True
    except OSError as exc:
        if exc.errno in (errno.EACCES, errno.EPERM, errno.ENOTEMPTY):
            return False
        raise
    return True


def directories(data_dir: Path, installation: str) -> list[Resource]:
    """Every work directory of this installation below the data directory, with the run that it is of."""
    found = []
    for path in (data_dir / "work").glob(f"ferryman-{installation}-*-d*"):
        if (name := _DIRECTORY.fullmatch(path.name)) is not None:
            run = RunKey(name[1], int(name[2]), int(name[3]))
            found.append(Resource("directory", path.name, path.name, run, int(name[4])))
    return found
