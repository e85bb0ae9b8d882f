"""The judge of Docker's refusals: a refused create or start is the task's fault, or the machine's.

Statuses and exit codes do not tell: a missing runc is a 400 with code 127, an unknown user a 500 with 128. Only words
about something that the task itself chose blame the task. Everything else is the machine's, and costs the task nothing.
"""

from __future__ import annotations

import re
from pathlib import Path

from docker.errors import APIError

from engine.errors import DataDirectoryFault, MachineFault, Unstartable
from engine.runtime.base import Order
from engine.runtime.docker import messages
from engine.runtime.docker.client import message_of

#: System errors at the end of a message that are the machine's, whatever the message is about.
_EXHAUSTED = re.compile(
    "(no space left on device|cannot allocate memory|too many open files( in system)?|input/output error"
    r"|disk quota exceeded|resource temporarily unavailable|structure needs cleaning)(: unknown)?[\s.]*$",
    re.IGNORECASE,
)
#: The task's own user, workdir, mounts, limits, environment and image, in the words of dockerd and runc.
_OF_TASK = re.compile(
    r"^unable to find (user|group) |^uids and gids must be in range|no matching entries in (passwd|group) file"
    r"|^cannot mkdir: |not a directory|is not directory|error mounting \"|invalid mount|mount point|chdir to cwd"
    "|bind source path does not exist|exec format error|oom-killed|memory limit too low|unable to set memory limit"
    "|minimum memory limit|environment variable|argument list too long|file name too long"
    "|invalid reference format|no such image",
    re.IGNORECASE,
)


def of_request(order: Order, message: str, refusal: APIError, data_dir: Path) -> Unstartable | MachineFault:
    """Return the error for a request of the order that Docker refused; `message` begins its text.

    Docker checks what a request asks for before it acts: then the status is 4xx, and the fault is the task's.
    """
    words = message_of(refusal)
    text = f"{message}: {words}"
    if str(data_dir) in words and "bind source path" in words:
        return DataDirectoryFault(text)
    if _is_of_task(order, words) or (refusal.is_client_error() and not _EXHAUSTED.search(words)):
        return Unstartable(text, 125)
    return MachineFault(text)


def of_start(order: Order, command: str, code: int, words: str) -> Unstartable | MachineFault:
    """Return the error for a refused start. `command` is the container's program, without docker-init."""
    runs_command = any(f"exec: {name}:" in words for name in (command, f'"{command}"'))
    if _is_of_task(order, words) or (command and runs_command and not _EXHAUSTED.search(words)):
        return Unstartable(_start_error(code, words, runs_command), code)
    return MachineFault(f"Docker cannot start a container: {messages.start_reason(words)}")


def of_pull(image: str, words: str) -> Unstartable | MachineFault:
    """Return the error for a failed pull. `words` are not quoted: they may repeat any server's answer."""
    text = messages.pull_failure(image, words)
    return Unstartable(text, 125) if messages.is_about_image(words) else MachineFault(text)


def _is_of_task(order: Order, words: str) -> bool:
    if _EXHAUSTED.search(words):
        return False
    return bool(_OF_TASK.search(words)) or any(
        f"network {name} not found" in words for name in order.networks
    )


def _start_error(code: int, words: str, runs_command: bool) -> str:
    reason = messages.start_reason(words)
    if runs_command:
        problem = "cannot be executed" if code == 126 else "is not in the image"
        return f"the command {problem}: {reason}"
    return f"the container cannot be set up as the task asks: {reason}"
