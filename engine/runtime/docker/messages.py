"""Messages of Docker, runc, tini and registries that Ferryman recognises because they come without a code.

All of them are here, because another version of Docker, or podman, is most likely to differ in them.
"""

from __future__ import annotations

import re

#: Statuses of a layer in the progress of a pull.
PULLING_FROM = "Pulling from"
DOWNLOADING = "Downloading"
DOWNLOADED = ("Download complete", "Pull complete")
LAYER_DONE = ("Pull complete", "Already exists")


#: Create (409): another container has the name.
NAME_TAKEN = re.compile("name")
#: Create (404): the daemon does not have the image.
IMAGE_MISSING = re.compile("no such image", re.IGNORECASE)
#: Start: the output directory was renamed to make the container unstartable.
OUTPUT_MISSING = re.compile("bind source path does not exist.*/out")
#: Remove: another call removes the container already.
BEING_REMOVED = re.compile("already in progress")
#: Pull: no answer of a registry that counts, worth another try.
REGISTRY_UNREACHABLE = re.compile(
    "dial tcp|no such host|connection refused|connection reset|no route to host|network is unreachable"
    r"|i/o timeout|client\.timeout|deadline exceeded|tls handshake timeout|proxyconnect|request canceled"
    "|unexpected eof|: eof|received unexpected http status: 5[0-9]*|service unavailable|bad gateway"
    "|toomanyrequests|too many requests",
    re.IGNORECASE,
)
#: Pull: the registry wants other credentials, or hides the image from these.
REGISTRY_DENIES = re.compile(
    "unauthorized|denied|no basic auth credentials|authentication required", re.IGNORECASE
)
#: Pull: an answer that is no registry's; the message quotes its body.
_REGISTRY_BAD_ANSWER = re.compile(
    "error parsing http|invalid character|server gave http response", re.IGNORECASE
)
_IMAGE_UNKNOWN = re.compile("manifest unknown|not found|name unknown|no matching manifest", re.IGNORECASE)
#: Pull: the host cannot keep what the registry gave.
_LAYER_NOT_STORED = re.compile(
    "no space left on device|failed to (register layer|extract|prepare)", re.IGNORECASE
)
_DISK_FULL = re.compile("no space left on device", re.IGNORECASE)
#: The end of runc's long sentence, where the reason is.
_START_REASON = re.compile(r'(exec: ".*|unable to find user .*|invalid mount config .*)$', re.DOTALL)
#: Written by docker-init (tini) when it cannot run the command.
_INIT_FAILURE = re.compile(rb"\[FATAL tini \(\d+\)\] exec (.+?) failed: (.+)")
#: Exceptions that the docker library shows by name only.
_CONNECTION_FAILURES = {
    "PermissionError": "permission denied on its socket (group docker, or sudo)",
    "FileNotFoundError": "no socket there",
    "ConnectionRefusedError": "connection refused",
}


def unreachable_reason(message: str) -> str:
    """Return in a fixed phrase why no registry answered a pull, "" for another failure."""
    phrases = [] if _REGISTRY_BAD_ANSWER.search(message) else REGISTRY_UNREACHABLE.findall(message)
    return phrases[-1].strip(": ").lower() if phrases else ""


def is_about_image(message: str) -> bool:
    """Return whether a failed pull tells of the image or its registry, and not of this host."""
    if _LAYER_NOT_STORED.search(message):
        return False
    known = (_REGISTRY_BAD_ANSWER, REGISTRY_UNREACHABLE, REGISTRY_DENIES, _IMAGE_UNKNOWN)
    return any(pattern.search(message) for pattern in known)


def pull_failure(image: str, message: str) -> str:
    """Return why a pull failed, and the remedy, without the daemon's message: it may quote any server's answer."""
    if _DISK_FULL.search(message):
        return f"Docker's disk has no space left for {image}: free some on the worker's host"
    if _REGISTRY_BAD_ANSWER.search(message):
        return f"the registry of {image} gave an answer that is not a registry's. Check the image's name"
    if reason := unreachable_reason(message):
        return f"the image {image} is not on this host and no registry answers: {reason}"
    if REGISTRY_DENIES.search(message):
        return (
            f"the registry does not give out {image}. Check its name; "
            "for a private image run docker login as the user who runs the worker"
        )
    if _IMAGE_UNKNOWN.search(message):
        return f"there is no image {image} for this host. Check its name and tag"
    return f"Docker cannot pull {image}: the worker's log has the reason"


def start_reason(message: str) -> str:
    """Return the reason of a refused start, without runc's sentence around it."""
    match = _START_REASON.search(message)
    return (match[1] if match else message).strip()[:500]


def init_failure(last_error: bytes) -> tuple[str, str] | None:
    """Return (command, reason) if docker-init wrote that it cannot run the command."""
    match = _INIT_FAILURE.match(last_error)
    return (match[1].decode("utf-8", "replace"), match[2].decode("utf-8", "replace")) if match else None


def connection_failure(text: str) -> str:
    """Return the text of an error of the docker library, in words where it names an exception only."""
    return next((words for name, words in _CONNECTION_FAILURES.items() if name in text), text[:300])
