"""Watch on what running links write: each output directory is bounded, and a full disk ends what fills it."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from engine.errors import RuntimeUnavailable
from engine.model.states import HoldKind
from engine.runtime.base import Cause, Control, Prepared, Runtime
from engine.runtime.usage import Usage, measure, unnamed_bytes
from engine.settings import RuntimeSettings
from engine.wording.sizes import size
from engine.worker.daemon.disk import Disk
from engine.worker.holds import Holds

log = logging.getLogger("ferryman.disk")

#: Time between two looks at all running links, and at the disk.
LOOK_SECONDS = 1.0
#: A directory is counted again after this many times the time that counting took: large ones are counted more rarely.
_PACE = 20
#: On a full disk, less than this is no reason to end a link.
_LEAST_BYTES = 1 << 20
#: The reserve is given up after this many looks at a full disk, the first of which end what fills it.
_LOOKS_BEFORE_RESERVE = 3
#: For this many looks a worker leaves it to another one of the same disk whose link takes more.
LOOKS_FOR_OTHERS = 15


@dataclass(eq=False)
class WatchedLink:
    """A running link, its output directory, and why the watch ended it."""

    control: Control
    #: The link's container; None until there is one.
    prepared: Callable[[], Prepared | None]
    #: In words for the task's owner; "" while nothing is wrong.
    reason: str = ""
    #: The reason is a bound of the link's own, not a full disk.
    is_over: bool = False
    directory: Path | None = None
    next_look: float = 0.0
    usage: Usage = field(default_factory=Usage)


class OutputWatch:
    """Thread that counts what running links wrote, and looks at the disk of the data directory."""

    def __init__(self, runtime: Runtime, settings: RuntimeSettings, disk: Disk, holds: Holds) -> None:
        self._runtime = runtime
        self._most_bytes = settings.output_bytes
        self._most_entries = settings.output_files
        self._disk = disk
        self._holds = holds
        self._lock = threading.Lock()
        self._links: list[WatchedLink] = []
        self._full_looks = 0
        #: The last error of the disk itself, which is told once.
        self._trouble = ""

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="output-watch", daemon=True).start()

    def add(self, link: WatchedLink) -> None:
        """Watch a link."""
        with self._lock:
            self._links.append(link)

    def remove(self, link: WatchedLink) -> None:
        """Watch a link no more."""
        with self._lock:
            self._links.remove(link)

    def excess(self, link: WatchedLink) -> str:
        """Count a link's output now; return in words how it exceeds the bounds, "" when it does not."""
        prepared = link.prepared()
        if prepared is None:
            return ""
        try:
            if link.directory is None:
                link.directory = self._runtime.output_directory(prepared)
            if link.directory is not None:
                link.usage = measure(link.directory, self._most_bytes, self._most_entries)
        except (OSError, RuntimeUnavailable) as exc:
            # Removed, or in the data directory of another worker: there is nothing to count.
            log.debug("the output of %s is not counted: %s", prepared.order.name, exc)
            return ""
        return self._words(link.usage)

    def _words(self, usage: Usage) -> str:
        if usage.bytes > self._most_bytes:
            allowed = f"{size(self._most_bytes)} are allowed (FERRYMAN_OUTPUT_BYTES)"
            return (
                f"wrote {size(usage.bytes)} or more to its output directory, of which {allowed}: use a volume"
            )
        if usage.entries > self._most_entries:
            allowed = f"{self._most_entries} are allowed (FERRYMAN_OUTPUT_FILES)"
            return f"made more than {self._most_entries} files in its output directory, and {allowed}: use a volume"
        return "nested more directories in its output directory than can be counted" if usage.is_cut else ""

    def _run(self) -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            try:
                self.look()
                self._trouble = ""
            except OSError as exc:
                # The data directory is away or read-only: told once, the machine's other checks hold the node.
                if str(exc) != self._trouble:
                    log.warning("the disk of the data directory cannot be looked at: %s", exc)
                self._trouble = str(exc)
            except Exception:
                # A defect must not end the thread, which alone bounds what tasks write.
                log.exception("a look at the output of the running links")

    def look(self) -> None:
        """Count the links that are due, end what exceeds its bounds, and do what a full disk asks for."""
        with self._lock:
            links = list(self._links)
        for link in links:
            began = time.monotonic()
            if began < link.next_look or link.reason:
                continue
            if reason := self.excess(link):
                link.is_over = True
                self._end(link, reason)
            link.next_look = time.monotonic() + _PACE * (time.monotonic() - began)
        if reason := self._disk.why_low():
            self._relieve(links, reason)
        else:
            self._full_looks = 0
            self._disk.renew_reserve()

    def _relieve(self, links: list[WatchedLink], reason: str) -> None:
        """End the link that takes most of a full disk; when that makes no room, give up the reserve."""
        self._full_looks += 1
        if HoldKind.DATA_DIRECTORY not in self._holds.kinds:
            self._holds.hold(HoldKind.DATA_DIRECTORY, reason, self._disk.why_not_roomy)
        if self._full_looks > _LOOKS_BEFORE_RESERVE:
            self._disk.give_up_reserve()
        if any(link.reason for link in links):
            return  # the room comes when that link has ended
        taken = self._taken(links)
        greatest = max(taken, key=lambda link: (link.usage.closed, taken[link]), default=None)
        if greatest is None:
            return
        if greatest.usage.closed:
            words = "this task keeps directories in its output directory that the worker may not read"
        elif taken[greatest] >= max(_LEAST_BYTES, self._most_of_others(taken)):
            words = f"{size(taken[greatest])} of it is what this task wrote to its output directory"
        else:
            return
        self._end(greatest, f"{reason}, and {words}")

    def _taken(self, links: list[WatchedLink]) -> dict[WatchedLink, int]:
        """Return the bytes of each link on this disk, files without a name included."""
        containers = {
            prepared.container_id: link
            for link in links
            if (prepared := link.prepared()) is not None and link.directory is not None
        }
        taken = {link: link.usage.bytes for link in containers.values()}
        for container_id, unnamed in unnamed_bytes(containers, self._disk.device).items():
            taken[containers[container_id]] += unnamed
        return taken

    def _most_of_others(self, mine: Iterable[WatchedLink]) -> int:
        """Return the bytes of the greatest output directory of another worker on this disk, which acts first."""
        if self._full_looks > LOOKS_FOR_OTHERS:
            return 0
        own, sizes = {link.directory for link in mine}, [0]
        for directory in self._disk.outputs():
            if directory not in own:
                with contextlib.suppress(OSError):
                    sizes.append(measure(directory, self._most_bytes, self._most_entries).bytes)
        return max(sizes)

    def _end(self, link: WatchedLink, reason: str) -> None:
        link.reason = reason
        link.control.kill(Cause.OUTPUT)
