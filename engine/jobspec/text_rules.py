"""The rules for single texts: image references, queue and user names, keys, file names, scripts.

Each takes a text and returns what is wrong with it, or None.
"""

from __future__ import annotations

import re

from engine.jobspec.problems import Fault
from engine.wording.text import quoted, unsafe_character

#: Linux: MAX_ARG_STRLEN, the longest single argument or `KEY=value`, with its closing NUL.
EXEC_TEXT_BYTES = 128 << 10
MOST_IMAGE_CHARACTERS = 512
_MOST_REPOSITORY_CHARACTERS = 255

_DOMAIN = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[0-9a-fA-F:]+\])"
    r"(?::[0-9]{1,5})?"
)
_PATH_PART = re.compile(r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_QUEUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
#: Keys of the broker's own (kombu), and names that Tork keeps for its coordinator.
_RESERVED_QUEUES = re.compile(
    r"unacked.*|celeryev.*|.*\.pidbox|installation|x-.*|"
    r"(?:pending|started|completed|error|heartbeat|jobs|logs|progress|redeliveries)"
)
_NAME = r"[A-Za-z_][A-Za-z0-9_.-]{0,31}"
_USER = re.compile(rf"(?:[0-9]{{1,10}}|{_NAME})(?::(?:[0-9]{{1,10}}|{_NAME}))?")
#: Docker refuses ids above this.
_MOST_USER_ID = (1 << 31) - 1
_VAR = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MODE = re.compile(r"[0-7]{3,4}")
_RESERVED_KEYS = ("FERRYMAN_", "TORK_")


def image_fault(image: str) -> Fault | None:
    """What Docker would not read as an image reference: [host[:port]/]repository[:tag][@digest]."""
    hint = "write image: ubuntu:24.04 or registry.example.org/team/tool:1.2"
    if not image:
        return Fault("the image is empty", hint)
    if "://" in image:
        return Fault(f"{quoted(image)} is a URL, no image", "write it without the scheme, as ubuntu:24.04")
    if any(sign.isspace() for sign in image):
        return Fault(f"{quoted(image)} has a space, and images have none", hint)
    if image.startswith("-"):
        return Fault(f"{quoted(image)} begins with -, and no image does", hint)
    name, at, digest = image.partition("@")
    if at and _DIGEST.fullmatch(digest) is None:
        return Fault(f"{quoted(digest)} is no digest", "write sha256: and 64 hexadecimal digits after the @")
    slash = name.rfind("/")
    colon = name.rfind(":")
    repository = name
    if colon > slash:
        repository, tag = name[:colon], name[colon + 1 :]
        if _TAG.fullmatch(tag) is None:
            return Fault(f"{quoted(tag)} is no tag", "write letters, digits, _ . - after the colon")
    return _repository_fault(repository, image, hint)


def _repository_fault(repository: str, image: str, hint: str) -> Fault | None:
    parts = repository.split("/")
    first = parts[0]
    if len(parts) > 1 and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        if _DOMAIN.fullmatch(first) is None:
            return Fault(
                f"{quoted(first)} is no registry's name", "write host/repository or host:port/repository"
            )
        parts = parts[1:]
    path = "/".join(parts)
    if path != path.lower():
        return Fault(f"{quoted(path)} has capitals, and repositories have none", f"write {path.lower()[:80]}")
    if not all(_PATH_PART.fullmatch(part) for part in parts):
        return Fault(f"{quoted(image)} is no image reference", hint)
    if len(repository) > _MOST_REPOSITORY_CHARACTERS:
        return Fault(f"the repository's name has {len(repository)} characters, at most 255 may be", hint)
    return None


def queue_fault(queue: str) -> Fault | None:
    """What keeps a text from being a queue's name."""
    if _QUEUE.fullmatch(queue) is None:
        hint = "write 1 to 64 letters, digits, _ . - and begin with a letter or digit"
        return Fault(f"{quoted(queue)} is no queue name", hint)
    if _RESERVED_QUEUES.fullmatch(queue) is not None:
        return Fault(f"the queue name {quoted(queue)} is reserved", "write another name, such as default")
    return None


def user_fault(user: str) -> Fault | None:
    """What keeps a text from being `uid[:gid]` or `name[:group]`."""
    hint = "write 1000, 1000:1000 or the name of a user of the image"
    if _USER.fullmatch(user) is None:
        return Fault(f"{quoted(user)} is no user", hint)
    if any(part.isdigit() and int(part) > _MOST_USER_ID for part in user.split(":")):
        return Fault(f"{quoted(user)} is no user: ids end at {_MOST_USER_ID}", hint)
    return None


def var_fault(var: str) -> Fault | None:
    """What keeps a text from being the name under which later tasks read the result."""
    if _VAR.fullmatch(var) is None:
        return Fault(f"{quoted(var)} is no variable name", "write letters, digits and _, no digit first")
    return None


def mode_fault(mode: str) -> Fault | None:
    """What keeps a text from being a tmpfs's permissions."""
    if _MODE.fullmatch(mode) is None:
        return Fault(f"{quoted(mode)} are no permissions", 'write mode: "0755"')
    return None


def name_fault(name: str) -> Fault | None:
    """What keeps a text from being shown as a name: signs that hide, turn the line around or break it."""
    if not name.strip():
        return Fault("it is empty", "write a few words")
    return _invisible(name)


def tag_fault(tag: str) -> Fault | None:
    """What keeps a text from being a tag."""
    if len(tag) > 64:
        return Fault(f"the tag has {len(tag)} characters, at most 64 may be", "make it shorter")
    return name_fault(tag)


def description_fault(text: str) -> Fault | None:
    """As for a name, but lines may end."""
    return _invisible(text.replace("\r\n", " ").replace("\n", " ").replace("\t", " "))


def _invisible(text: str) -> Fault | None:
    if (char := unsafe_character(text)) is None:
        return None
    return Fault(f"{quoted(text)} holds the invisible character U+{ord(char):04X}", "remove it")


def workdir_fault(workdir: str) -> Fault | None:
    """What keeps a text from being the directory that a container starts in."""
    if not workdir.startswith("/") or ".." in workdir.split("/") or _invisible(workdir) is not None:
        return Fault(f"{quoted(workdir)} is no absolute path without ..", "write workdir: /app")
    return None


def run_fault(run: str) -> Fault | None:
    """What would keep the kernel from starting the script."""
    if not run.strip():
        return Fault("the script is empty", "write its lines, or remove run to use the image's own command")
    first, _, _ = run.partition("\n")
    if not first.startswith("#!"):
        return None
    if first.endswith("\r"):
        return Fault("the script's lines end with a carriage return", "save the file with plain line feeds")
    if not first[2:].strip().startswith("/"):
        return Fault(f"{quoted(first)} names no absolute path", "write #!/bin/sh or #!/usr/bin/env python3")
    return None


def env_key_fault(key: str) -> Fault | None:
    """What keeps a text from being an environment variable's name in a task."""
    if not key or len(key) > 256:
        return Fault(f"{quoted(key)} is no variable name", "write 1 to 256 characters")
    if "=" in key or any(sign.isspace() for sign in key) or _invisible(key) is not None:
        return Fault(
            f"{quoted(key)} is no variable name", "write it without =, spaces and control characters"
        )
    if key.startswith(_RESERVED_KEYS):
        return Fault(f"the variable {quoted(key)} is reserved", "write a name that begins otherwise")
    return None


def env_fault(key: str, value: str) -> Fault | None:
    """What is wrong with a variable; one that is too long would end in "argument list too long"."""
    fault = env_key_fault(key)
    most = EXEC_TEXT_BYTES - len(key.encode(errors="replace")) - 2
    if fault is None and (size := len(value.encode(errors="replace"))) > most:
        return Fault(
            f"the value has {size} bytes, at most {most} can be passed", "write it into files instead"
        )
    return fault


def argument_fault(argument: str) -> Fault | None:
    """What is wrong with one argument of a command."""
    if (size := len(argument.encode(errors="replace"))) >= EXEC_TEXT_BYTES:
        most = EXEC_TEXT_BYTES - 1
        return Fault(
            f"the argument has {size} bytes, at most {most} can be passed", "write it into files instead"
        )
    return None


def file_name_fault(name: str) -> Fault | None:
    """What keeps a text from naming a file below the working directory."""
    hint = "write a name below the working directory, as data/in.txt"
    parts = name.split("/")
    if not name or name.startswith("/") or "\\" in name or any(part in ("", ".", "..") for part in parts):
        return Fault(f"{quoted(name)} is no relative file name", hint)
    if len(name) > 1024 or len(parts) > 16 or any(len(part.encode(errors="replace")) > 255 for part in parts):
        return Fault(f"{quoted(name)} is too long for a file name", hint)
    if _invisible(name) is not None:
        return Fault(f"{quoted(name)} holds an invisible character", hint)
    return None
