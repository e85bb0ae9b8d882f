"""Rules for single texts: image references, queue and user names, keys, file names, scripts.

Each rule takes a text and returns its fault, None for a valid text.
"""

from __future__ import annotations

import re

from engine.jobspec import line_ends
from engine.jobspec.problems import Fault
from engine.wording.text import quoted, unsafe_character

#: MAX_ARG_STRLEN of Linux: the longest argument or `KEY=value`, with the closing NUL.
EXEC_TEXT_BYTES = 128 << 10
MOST_IMAGE_CHARACTERS = 512
_MOST_REPOSITORY_CHARACTERS = 255

_DOMAIN = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*)"
    r"(?::[0-9]{1,5})?"
)
_IMAGE_ID = re.compile("[0-9a-f]{64}")
_PATH_PART = re.compile(r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_QUEUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
#: kombu's own keys at the broker, and names that Tork reserves for its coordinator.
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
    """Check an image reference as Docker reads it: [host[:port]/]repository[:tag][@digest]."""
    hint = "write image: ubuntu:24.04 or registry.example.org/team/tool:1.2"
    if not image:
        return Fault("the image is empty", hint)
    if "://" in image:
        return Fault(
            f"{quoted(image)} is a URL, not an image reference",
            "write it without the scheme, as ubuntu:24.04",
        )
    if any(char.isspace() for char in image):
        return Fault(f"{quoted(image)} is not a valid image reference, it contains a space", hint)
    if image.startswith("-"):
        return Fault(f"{quoted(image)} is not a valid image reference, it begins with -", hint)
    if _IMAGE_ID.fullmatch(image):
        return Fault(f"{quoted(image)} is an image id for Docker, not a name", hint)
    name, at, digest = image.partition("@")
    if at and _DIGEST.fullmatch(digest) is None:
        hint = "write sha256: and 64 hexadecimal digits after the @"
        return Fault(f"{quoted(digest)} is not a valid digest", hint)
    slash = name.rfind("/")
    colon = name.rfind(":")
    repository = name
    if colon > slash:
        repository, tag = name[:colon], name[colon + 1 :]
        if _TAG.fullmatch(tag) is None:
            return Fault(f"{quoted(tag)} is not a valid tag", "write letters, digits, _ . - after the colon")
    return _repository_fault(repository, image, hint)


def _repository_fault(repository: str, image: str, hint: str) -> Fault | None:
    parts = repository.split("/")
    first = parts[0]
    if first.startswith("["):
        fault = f"the registry {quoted(first)} is an IPv6 address, which not every Docker accepts"
        return Fault(fault, "write a name for it, from DNS or /etc/hosts")
    if len(parts) > 1 and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        if _DOMAIN.fullmatch(first) is None:
            hint = "write host/repository or host:port/repository"
            return Fault(f"{quoted(first)} is not a valid registry name", hint)
        port = first.rpartition(":")[2]
        if port.isdigit() and ":" in first and not 1 <= int(port) <= 65535:
            return Fault(f"the port {port} of the registry is not from 1 to 65535", hint)
        parts = parts[1:]
    path = "/".join(parts)
    if path != path.lower():
        return Fault(
            f"{quoted(path)} has capital letters, but repository names are lower case",
            f"write {path.lower()[:80]}",
        )
    if not all(_PATH_PART.fullmatch(part) for part in parts):
        return Fault(f"{quoted(image)} is not a valid image reference", hint)
    if len(repository) > _MOST_REPOSITORY_CHARACTERS:
        message = f"the repository name has {len(repository)} characters, at most 255 are allowed"
        return Fault(message, hint)
    return None


def queue_fault(queue: str) -> Fault | None:
    """Check the name of a queue."""
    if _QUEUE.fullmatch(queue) is None:
        hint = "write 1 to 64 letters, digits, _ . - and begin with a letter or digit"
        return Fault(f"{quoted(queue)} is not a valid queue name", hint)
    if _RESERVED_QUEUES.fullmatch(queue) is not None:
        return Fault(f"the queue name {quoted(queue)} is reserved", "write another name, such as default")
    return None


def user_fault(user: str) -> Fault | None:
    """Check a user: `uid[:gid]` or `name[:group]`."""
    hint = "write 1000, 1000:1000 or the name of a user in the image"
    if _USER.fullmatch(user) is None:
        return Fault(f"{quoted(user)} is not a valid user", hint)
    if any(part.isdigit() and int(part) > _MOST_USER_ID for part in user.split(":")):
        return Fault(f"{quoted(user)} is not a valid user, the highest id is {_MOST_USER_ID}", hint)
    return None


def var_fault(var: str) -> Fault | None:
    """Check the name under which later tasks read the result."""
    if _VAR.fullmatch(var) is None:
        hint = "write letters, digits and _, with no digit first"
        return Fault(f"{quoted(var)} is not a valid variable name", hint)
    return None


def mode_fault(mode: str) -> Fault | None:
    """Check the permissions of a tmpfs."""
    return (
        None if _MODE.fullmatch(mode) else Fault(f"{quoted(mode)} is not a valid mode", 'write mode: "0755"')
    )


def name_fault(name: str) -> Fault | None:
    """Check a name that people read: no characters that are invisible, turn the line around or end it."""
    if not name.strip():
        return Fault("the text is empty", "write a few words")
    return _invisible_fault(name)


def tag_fault(tag: str) -> Fault | None:
    """Check a tag."""
    if len(tag) > 64:
        return Fault(f"the tag has {len(tag)} characters, at most 64 are allowed", "shorten it")
    return name_fault(tag)


def description_fault(text: str) -> Fault | None:
    """Check a description: as a name, but with several lines and tabs."""
    return _invisible_fault(text.replace("\r\n", " ").replace("\n", " ").replace("\t", " "))


def _invisible_fault(text: str) -> Fault | None:
    if (char := unsafe_character(text)) is None:
        return None
    return Fault(f"{quoted(text)} contains the invisible character U+{ord(char):04X}", "remove it")


def run_fault(run: str) -> Fault | None:
    """Check that the kernel could start the script."""
    if not run.strip():
        return Fault("the script is empty", "write its lines, or remove run to use the image's own command")
    if (fault := line_ends.line_end_fault(run)) is not None:
        return fault
    first, _, _ = run.partition("\n")
    if first.startswith("#!") and not first[2:].strip().startswith("/"):
        hint = "write #!/bin/sh or #!/usr/bin/env python3"
        return Fault(f"{quoted(first)} does not name an absolute path", hint)
    return None


def env_key_fault(key: str) -> Fault | None:
    """Check the name of an environment variable."""
    message = f"{quoted(key)} is not a valid variable name"
    if not key or len(key) > 256:
        return Fault(message, "write 1 to 256 characters")
    if "=" in key or any(char.isspace() for char in key) or unsafe_character(key):
        return Fault(message, "write it without =, spaces and control characters")
    if key.startswith(_RESERVED_KEYS):
        hint = f"write a name that does not begin with {' or '.join(_RESERVED_KEYS)}"
        return Fault(f"the variable name {quoted(key)} is reserved", hint)
    return None


def env_fault(key: str, value: str) -> Fault | None:
    """Check a variable; starting a program with a longer one fails with "argument list too long"."""
    most = EXEC_TEXT_BYTES - len(key.encode(errors="replace")) - 2
    return env_key_fault(key) or _size_fault("value", value, most)


def argument_fault(argument: str) -> Fault | None:
    """Check an argument of a command."""
    return _size_fault("argument", argument, EXEC_TEXT_BYTES - 1)


def _size_fault(what: str, text: str, most: int) -> Fault | None:
    if (size := len(text.encode(errors="replace"))) <= most:
        return None
    return Fault(f"the {what} has {size} bytes, at most {most} can be passed", "write it into files instead")


def file_name_fault(name: str) -> Fault | None:
    """Check the name of a file below the working directory."""
    hint = "write a name below the working directory, as data/in.txt"
    parts = name.split("/")
    if not name or name.startswith("/") or "\\" in name or any(part in ("", ".", "..") for part in parts):
        return Fault(f"{quoted(name)} is not a relative file name", hint)
    if len(name) > 1024 or len(parts) > 16 or any(len(part.encode(errors="replace")) > 255 for part in parts):
        return Fault(f"{quoted(name)} is too long for a file name", hint)
    return _invisible_fault(name)
