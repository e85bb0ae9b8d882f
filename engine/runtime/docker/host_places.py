"""Places of the host that a bind would show: real paths and mounts are compared by where they are, not by name.

A name proves little: the data directory may be reached over a symbolic link or a second mount. The place of a path is
its filesystem and the path within that filesystem, as the kernel's list of mounts gives them.
"""

from __future__ import annotations

import os
import re
import stat
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

from engine.errors import HostAccessDenied
from engine.jobspec.container_paths import is_within
from engine.jobspec.host_access import ALWAYS_FORBIDDEN, NEVER_WRITABLE, overlap
from engine.jobspec.task import HostAccess
from engine.runtime.docker.client import Client, translated

#: Filesystems through which the kernel is read and set.
_KERNEL_FILESYSTEMS = (
    "binder", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "efivarfs", "fusectl",
    "nsfs", "proc", "pstore", "securityfs", "selinuxfs", "sysfs", "tracefs",
)  # fmt: skip
#: Directories of Docker that may be filesystems of their own.
_DOCKER_PARTS = ("", "volumes", "containers", "overlay2")
_ESCAPE = re.compile(r"\\([0-7]{3})")
#: Search bits of everybody but the owner.
_SEARCH_BY_OTHERS = 0o011
#: Docker's directory is asked for again after this time.
_ROOT_SECONDS = 60.0


class Place(NamedTuple):
    """Filesystem (major:minor) and path within it."""

    device: str
    path: str


@dataclass(frozen=True)
class Mounted:
    """Line of the kernel's list of mounts: the directory `root` of a filesystem is seen at `path`."""

    id: int
    device: str
    root: str
    path: str
    options: frozenset[str]
    filesystem: str

    @property
    def place(self) -> Place:
        """The place that is mounted."""
        return Place(self.device, self.root)


class HostPlaces:
    """Judge of the places that tasks may bind, on this host. Thread-safe; reads the mounts at each call."""

    def __init__(self, client: Client, access: HostAccess, *, are_devices_made: bool) -> None:
        """Take as `are_devices_made` whether containers keep MKNOD."""
        self._client = client
        self._access = access
        self._needed = frozenset({"nosuid", "nodev"} if are_devices_made else {"nosuid"})
        self._lock = threading.Lock()
        self._docker_root = ("", -_ROOT_SECONDS)

    def refuse_unsafe(self, real: str, *, is_writable: bool) -> None:
        """Refuse a real path that shows a forbidden place, or that a task could replace or use against the host.

        Raises HostAccessDenied, RuntimeUnavailable.
        """
        try:
            reason = self._danger(real, read_mounts(), is_writable)
        except OSError as exc:
            reason = f"it cannot be looked at ({exc.strerror})"
        if reason:
            raise HostAccessDenied(f"{real!r} may not be mounted: {reason}", 125)

    def _danger(self, real: str, mounts: list[Mounted], is_writable: bool) -> str:
        mode = os.stat(real, follow_symlinks=False).st_mode
        if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            return "it is not a directory or a regular file"
        inside = [mount for mount in mounts if mount.path != real and is_within(mount.path, real)]
        for mount in (_mount_of(real, mounts), *inside):
            if mount.filesystem in _KERNEL_FILESYSTEMS:
                return f"{mount.path} shows the kernel's own files ({mount.filesystem})"
        shown = [place_of(real, mounts), *(mount.place for mount in inside)]
        forbidden = [*ALWAYS_FORBIDDEN, *self._access.forbidden, *self._docker_directories()]
        if name := _shown_among(real, shown, forbidden, mounts):
            return f"it leads to {name}, which is never shared"
        if entry := self._replaceable_in(real, mounts):
            return f"tasks may write in {entry}, so they could replace it"
        if not is_writable:
            return ""
        if name := _shown_among(real, shown, NEVER_WRITABLE, mounts):
            return f"it leads to {name}, where tasks may never write"
        return _plantable(shown, mounts, self._needed)

    def _docker_directories(self) -> list[str]:
        with self._lock:
            root, asked_at = self._docker_root
            if time.monotonic() - asked_at >= _ROOT_SECONDS:
                with translated("asking for Docker's directory"):
                    root = str(self._client.api.info().get("DockerRootDir") or "")
                self._docker_root = (root, time.monotonic())
        return [os.path.join(root, part) for part in _DOCKER_PARTS] if root else []

    def _replaceable_in(self, real: str, mounts: list[Mounted]) -> str:
        """Return the writable entry that has a directory above the path inside it, under whatever name."""
        above = [place_of(str(folder), mounts) for folder in PurePosixPath(real).parents]
        for entry, is_writable in self._access.bind_sources:
            place = _place_if_there(entry, mounts) if is_writable else None
            if place is not None and any(_is_inside(folder, place) for folder in above):
                return entry
        return ""


def read_mounts() -> list[Mounted]:
    """Return the mounts that this process sees."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return [_mounted(line) for line in file]


def _mounted(line: str) -> Mounted:
    fields = line.rstrip("\n").split(" ")
    root, path = (_ESCAPE.sub(lambda match: chr(int(match[1], 8)), fields[n]) for n in (3, 4))
    filesystem = fields[fields.index("-", 6) + 1]
    return Mounted(int(fields[0]), fields[2], root, path, frozenset(fields[5].split(",")), filesystem)


def place_of(path: str, mounts: Iterable[Mounted]) -> Place:
    """Return the place of an existing real path. Raises OSError."""
    mount = _mount_of(path, mounts)
    return Place(mount.device, _joined(mount.root, os.path.relpath(path, mount.path)))


def _place_if_there(path: str, mounts: Iterable[Mounted]) -> Place | None:
    real = PurePosixPath(os.path.realpath(path))
    for folder in (real, *real.parents):
        try:
            place = place_of(str(folder), mounts)
        except PermissionError:
            # A worker that is not root does not see what is inside a closed directory: it is where its name says.
            continue
        except OSError:
            return None
        return Place(place.device, _joined(place.path, str(real.relative_to(folder))))
    return None


def _mount_of(path: str, mounts: Iterable[Mounted]) -> Mounted:
    number = _mount_id(path)
    for mount in mounts:
        if mount.id == number:
            return mount
    raise OSError(0, "the mounts of the host are changing")


def _mount_id(path: str) -> int:
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with open(f"/proc/self/fdinfo/{descriptor}") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("mnt_id:"))
    finally:
        os.close(descriptor)


def _joined(folder: str, relative: str) -> str:
    return folder if relative == "." else os.path.join(folder, relative)


def _is_inside(place: Place, folder: Place) -> bool:
    return place.device == folder.device and is_within(place.path, folder.path)


def _shown_among(real: str, shown: Iterable[Place], names: Iterable[str], mounts: list[Mounted]) -> str:
    """Return the first of the named places that the shown ones contain, or that contains one of them.

    Inodes are compared too: a file may have a second name, and some filesystems (NFS, FUSE) do not tell the path
    within them.
    """
    own = _inodes(real)
    for name in names:
        place = _place_if_there(name, mounts)
        if place is None:
            continue
        if any(one.device == place.device and overlap(one.path, place.path) for one in shown):
            return name
        other = _inodes(os.path.realpath(name))
        if own[0] in other or (other and other[0] in own):
            return name
    return ""


def _inodes(real: str) -> list[tuple[int, int]]:
    """Return device and inode of a real path and of the directories above it; [] when it cannot be seen."""
    inodes = []
    path = PurePosixPath(real)
    for folder in (path, *path.parents):
        try:
            about = os.stat(folder)
        except OSError:
            return []
        inodes.append((about.st_dev, about.st_ino))
    return inodes


def _plantable(shown: Iterable[Place], mounts: list[Mounted], needed: frozenset[str]) -> str:
    """Return why a set-user-id program that a task leaves in these places could be run on the host, "" if not.

    Tasks often run as root, whose files keep their owner in a bind. Harmless is a path on a mount with nosuid, or
    below a directory that other accounts cannot enter. Each way to the place counts.
    """
    for place in shown:
        for mount, path in _ways_to(place, mounts):
            if needed <= mount.options or _is_closed(path):
                continue
            flags = ",".join(sorted(needed, reverse=True))
            return (
                f"tasks may write there, and accounts of the host could run a set-user-id program that a task left in "
                f"{path}; mount {path} with {flags}, or close a directory above it (chmod 0700)"
            )
    return ""


def _ways_to(place: Place, mounts: list[Mounted]) -> Iterator[tuple[Mounted, str]]:
    """Give each mount that shows the place or part of it, with the path where it does."""
    for mount in mounts:
        if _is_inside(place, mount.place):
            path = _joined(mount.path, os.path.relpath(place.path, mount.root))
        elif _is_inside(mount.place, place):
            path = mount.path
        else:
            continue
        try:
            is_seen = _mount_id(path) == mount.id
        except PermissionError:
            # Closed to this worker, not to every account.
            is_seen = True
        except OSError:
            is_seen = False
        if is_seen:
            yield mount, path


def _is_closed(path: str) -> bool:
    """Return whether a directory above the path lets only root, or the user of this process, go on."""
    for folder in PurePosixPath(path).parents:
        try:
            about = os.stat(folder)
        except PermissionError:
            continue
        if about.st_uid in (0, os.geteuid()) and not about.st_mode & _SEARCH_BY_OTHERS:
            return True
    return False
