"""Rules for paths in the container: working directory, files and targets of mounts. Pure logic on texts.

Docker refuses many of them only when the container starts, or lets them hide its own files and Ferryman's.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from engine.jobspec.problems import Fault, Path
from engine.wording.text import quoted, unsafe_character

MOST_PATH_CHARACTERS = 1024
#: The place of `files` if the task names no workdir (Tork's rule).
WORKDIR = "/tork/workdir"
#: Paths that Ferryman (result, progress, run) or the kernel uses.
_RESERVED_TARGETS = ("/tork", "/ferryman", "/proc", "/sys")
#: Files that Docker and Ferryman make in each container: nothing is below them, and no directory takes their place.
_MADE_FILES = (
    "/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/etc/mtab", "/.dockerenv", "/sbin/docker-init",
    "/ferryman/run",
)  # fmt: skip
#: Targets are compared with files down to this depth; a file has at most 16 parts, a workdir 256 characters.
_MOST_PARTS = 144
_PATH_CHARSET = re.compile(r"[-/.0-9a-zA-Z_= ]+")


def normal(path: str) -> str:
    """Return an absolute path without double slashes and dots."""
    # normpath keeps two leading slashes, which POSIX allows; for Linux they are one.
    return posixpath.normpath("/" + path.lstrip("/"))


def is_within(path: str, folder: str) -> bool:
    """Return whether a normalised path is `folder` or below it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def is_of_kernel(path: str) -> bool:
    """Return whether a path in the container is in /proc, /sys or /dev; /dev/shm is an ordinary directory."""
    place = normal(path)
    return any(is_within(place, each) for each in ("/proc", "/sys", "/dev")) and not is_within(
        place, "/dev/shm"
    )


def workdir_fault(workdir: str) -> Fault | None:
    """Check the directory in which a container starts."""
    hint = "write workdir: /app"
    if not workdir.startswith("/") or ".." in workdir.split("/") or unsafe_character(workdir):
        return Fault(f"{quoted(workdir)} is not an absolute path without ..", hint)
    if is_of_kernel(workdir):
        message = f"{quoted(workdir)} cannot be the working directory: the kernel's files are there"
        return Fault(message, hint)
    if file := _made_file(normal(workdir)):
        return Fault(f"{quoted(workdir)} cannot be the working directory: {file} is a file", hint)
    return None


def file_place_fault(workdir: str, name: str) -> Fault | None:
    """Check that a file does not land on or below a file of Ferryman, Docker or the kernel."""
    place = normal(posixpath.join("/", workdir, name))
    hint = "write another workdir, such as /app"
    if is_within(place, "/ferryman") or place == "/sbin/docker-init":
        return Fault(f"{quoted(place)} is reserved for Ferryman and Docker", hint)
    if is_of_kernel(place):
        return Fault(f"{quoted(place)} cannot be written: the kernel's files are there", hint)
    if (file := _made_file(place)) and file != place:
        return Fault(f"{quoted(place)} is below {file}, which is a file", hint)
    return None


def target_fault(target: str) -> Fault | None:
    """Check the path of a mount in the container."""
    hint = "write an absolute path such as /data"
    if fault := _path_fault(target, hint):
        return fault
    place = normal(target)
    if place in ("/", "/dev", "/sbin") or is_within(place, "/sbin/docker-init"):
        return Fault(f"nothing can be mounted over {quoted(target)}", hint)
    if is_of_kernel(place) and is_within(place, "/dev"):
        return Fault(f"nothing can be mounted over the device {quoted(target)}", hint)
    for reserved in _RESERVED_TARGETS:
        if is_within(place, reserved):
            return Fault(f"{quoted(target)} is reserved, like everything in {reserved}", hint)
    if (file := _made_file(place)) and file != place:
        return Fault(f"{quoted(target)} is below {file}, which is a file", hint)
    return None


def directory_target_fault(target: str) -> Fault | None:
    """Check the path of a mount that is a directory: a volume or a tmpfs."""
    if fault := target_fault(target):
        return fault
    if file := _made_file(normal(target)):
        hint = "write an absolute path such as /data"
        return Fault(f"no directory can be mounted over the file {file}", hint)
    return None


def source_fault(source: str) -> Fault | None:
    """Check the form of a bind's source; `bind_permission` decides about the path itself."""
    return _path_fault(source, "write an absolute path of the host such as /srv/media")


def _made_file(place: str) -> str:
    return next((file for file in _MADE_FILES if is_within(place, file)), "")


def _path_fault(path: str, hint: str) -> Fault | None:
    if not path.startswith("/") or ".." in path.split("/"):
        return Fault(f"{quoted(path)} is not an absolute path without ..", hint)
    if len(path) > MOST_PATH_CHARACTERS:
        return Fault(f"{quoted(path)} is longer than {MOST_PATH_CHARACTERS} characters", hint)
    if _PATH_CHARSET.fullmatch(path) is None:
        hint = "write letters, digits, - / . _ = and spaces only"
        return Fault(f"{quoted(path)} contains a character that mount paths cannot have", hint)
    return None


def place_faults(task: Mapping[str, Any]) -> Iterator[tuple[Path, Fault]]:
    """Give the faults of targets that are used twice, and of files and mounts that meet.

    Takes the values as they were read; values of a wrong type are skipped, because the schema reports them.
    """
    targets: list[tuple[Path, Any]] = [(("volumes", index), item) for index, item in items(task, "volumes")]
    for index, mount in items(task, "mounts"):
        if isinstance(mount, Mapping):
            targets.append((("mounts", index, "target"), mount.get("target")))
    places: set[str] = set()
    for path, target in targets:
        if not isinstance(target, str) or not target.startswith("/"):
            continue
        place = normal(target)
        if place in places:
            yield path, Fault(f"{quoted(target)} is mounted twice", "remove one of them")
        places.add(place)
    # Each place at or above a target, with the target: nothing is mounted on or below a file.
    taken = {above: place for place in sorted(places) for above in _at_or_above(place)}
    for path, place in _files(task):
        if place in taken:
            hint = "rename the file, or mount somewhere else"
            yield path, Fault(f"the file {quoted(place)} is where {quoted(taken[place])} is mounted", hint)


def _at_or_above(place: str) -> list[str]:
    parts = place.split("/")[1:]
    return ["/" + "/".join(parts[:length]) for length in range(1, min(len(parts), _MOST_PARTS) + 1)]


def _files(task: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Give the place of each file of each link."""
    links: list[tuple[Path, Any]] = [((), task)]
    links += [((kind, index), link) for kind in ("pre", "post") for index, link in items(task, kind)]
    for path, link in links:
        files = link.get("files") if isinstance(link, Mapping) else None
        workdir = link.get("workdir", WORKDIR) if isinstance(link, Mapping) else WORKDIR
        if not isinstance(files, Mapping) or not isinstance(workdir, str):
            continue
        for name in files:
            yield (*path, "files", name), normal(posixpath.join("/", workdir, name))


def items(task: Mapping[str, Any], key: str) -> Iterable[tuple[int, Any]]:
    """Return the items of a list as it was read, numbered; none of another value."""
    values = task.get(key)
    return enumerate(values[:1000]) if isinstance(values, list) else ()
