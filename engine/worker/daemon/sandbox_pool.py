"""Pool of this node's sandboxes: made ahead while the daemon is quiet, reserved by a claim, never in two attempts.

Under `pod` (the default) a sandbox serves one attempt and is removed with it. Under `slot` it is recycled for the next
attempt. Under `none`, and where a container cannot join a sandbox, the pool offers nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable

from engine import failpoints
from engine.errors import MachineFault, RuntimeUnavailable, Unstartable
from engine.lifecycle.sandbox import SandboxOffer
from engine.model import names
from engine.runtime.base import Cause, Order, Resource, Sandboxes
from engine.settings import RuntimeSettings
from engine.worker.running import RunningLinks

log = logging.getLogger("ferryman.sandbox")

#: A sandbox is made ahead only after the daemon was quiet for this long: making one under load would slow tasks.
_QUIET_SECONDS = 0.15
_LOOK_SECONDS = 0.05
_LONGEST_BACKOFF_SECONDS = 30.0
#: Pause after a sandbox died under a link, so that the cause can go away.
_SUSPENDED_SECONDS = 60.0


class SandboxPool:
    """Thread-safe pool of sandboxes; its thread makes the missing ones."""

    def __init__(
        self,
        sandboxes: Sandboxes,
        running: RunningLinks,
        settings: RuntimeSettings,
        installation: str,
        slots: int,
    ) -> None:
        self._sandboxes = sandboxes
        self._running = running
        self._installation = installation
        self._mode = settings.sandbox
        self._size = slots if self._mode == "slot" else min(settings.warm_sandboxes, slots)
        self._lock = threading.Lock()
        self._changed = threading.Event()
        #: The id of the node whose sandboxes these are; "" while the pool is closed. Read by the sweep.
        self.node = ""
        self._number = 0
        #: A container can join a sandbox here; None until this was tried.
        self._can_join: bool | None = False if self._mode == "none" else None
        self._ready: deque[str] = deque()
        #: Offered to a claim that has not returned yet, or just being made.
        self._reserved: set[str] = set()
        #: Named by a claim, and not made yet.
        self._to_create: set[str] = set()
        #: Under `slot`: joined by attempts that run here.
        self._in_use: set[str] = set()
        self._suspended_until = 0.0
        #: Held while a sandbox is made ahead.
        self._making = threading.Lock()

    def start(self) -> None:
        """Start the thread that makes sandboxes; it waits until the pool is open."""
        if self._can_join is None:
            threading.Thread(target=self._run, name="sandboxes", daemon=True).start()

    def open(self, node_id: str) -> None:
        """Make sandboxes for this node, which is LIVE now. The sweep removes those of the former node id."""
        with self._lock:
            self.node = node_id
            self._ready.clear()
            self._reserved.clear()
            self._in_use.clear()
        self._changed.set()

    def close(self, seconds: float = 0.0) -> list[Resource]:
        """Make and offer nothing any more; return the unused sandboxes, for removal.

        Wait up to `seconds` for one that is just being made; the pool's thread removes it.
        """
        with self._lock:
            unused = [Resource("sandbox", name, name, node=self.node) for name in self._ready]
            self.node = ""
            self._ready.clear()
        if self._making.acquire(timeout=seconds):
            self._making.release()
        return unused

    def reserve(self) -> SandboxOffer:
        """Return the sandboxes that the next claim may name. The caller must `release` them after the claim."""
        with self._lock:
            if not self._can_join or not self.node or time.monotonic() < self._suspended_until:
                return SandboxOffer()
            self._number += 1
            fresh = names.sandbox(self._installation, self.node, self._number)
            warm = self._ready.popleft() if self._ready else None
            if warm is not None:
                self._reserved.add(warm)
        failpoints.hit("sandbox.taken")
        return SandboxOffer(warm, fresh)

    def release(self, offered: SandboxOffer, sandbox: str | None, *, is_known: bool = True) -> None:
        """End a reservation: `sandbox` is the one that the claim named; without one (None), the offered ones are free.

        With `is_known` False nobody can tell: the offered sandbox is not used again, and the sweep removes it unless
        a row names it.
        """
        with self._lock:
            if offered.warm is not None and offered.warm in self._reserved:
                self._reserved.discard(offered.warm)
                if is_known and sandbox != offered.warm:
                    self._ready.appendleft(offered.warm)
            if sandbox is not None and sandbox == offered.fresh:
                self._to_create.add(sandbox)
            if sandbox is not None and self._mode == "slot":
                self._in_use.add(sandbox)
        self._changed.set()

    def create_reserved(self, order: Order) -> None:
        """Make the order's sandbox if its claim named one that does not exist yet.

        Raise RuntimeUnavailable, MachineFault. Where there can be no sandboxes the link's start finds none.
        """
        name = order.sandbox
        with self._lock:
            if name is None or name not in self._to_create:
                return
            node = self.node
        try:
            self._sandboxes.make(name, node)
            failpoints.hit("sandbox.made")
        except Unstartable as exc:
            log.warning("sandbox %s was not made, its task runs without one: %s", name, exc)
        finally:
            with self._lock:
                self._to_create.discard(name)

    def trial(self) -> str:
        """Return why a container of ours cannot start on this daemon, "" when it can. Raise RuntimeUnavailable."""
        with self._lock:
            self._number += 1
            # The pool is closed while Docker is silent, and has no node then.
            node = self.node or "none"
            name = names.sandbox(self._installation, node, self._number)
            self._reserved.add(name)  # the sweep must not remove it meanwhile
        try:
            return self._sandboxes.why_not_started(name, node)
        finally:
            with self._lock:
                self._reserved.discard(name)

    def recycle(self, order: Order) -> bool:
        """Keep, under `slot`, the sandbox of an ended attempt for the next; return False when it must be removed."""
        with self._lock:
            if order.sandbox is None or order.sandbox not in self._in_use:
                return False
            self._in_use.discard(order.sandbox)
            if len(self._ready) >= self._size:
                return False
            self._ready.append(order.sandbox)
        return True

    def unclaimed(self) -> frozenset[str]:
        """Return the names of sandboxes that no row names yet: those ready or reserved."""
        with self._lock:
            return frozenset((*self._ready, *self._reserved))

    def expected(self) -> frozenset[str]:
        """Return the names of sandboxes that must be running: ready ones, and those that running links joined."""
        with self._lock:
            to_create, ready = set(self._to_create), set(self._ready)
        joined = {link.sandbox for link in self._running.all() if link.sandbox is not None}
        return frozenset(ready | joined - to_create)

    def drop_dead(self, expected: Iterable[str], resources: Iterable[Resource]) -> None:
        """Drop expected sandboxes that are not running, and kill the links inside them: they have lost their network.

        `expected` must be read before the daemon's list. Such a task starts again, without spending a retry.
        """
        dead = set(expected) - {r.name for r in resources if r.kind == "sandbox" and r.state == "running"}
        if not dead:
            return
        with self._lock:
            self._ready = deque(name for name in self._ready if name not in dead)
        for link in self._running.all():
            if link.sandbox in dead:
                log.warning("the sandbox %s died: task %s starts again", link.sandbox, link.token.task_id)
                link.control.kill(Cause.SANDBOX_LOST)
        self._changed.set()

    def suspend(self) -> None:
        """Offer nothing for a minute after a sandbox died: a lasting cause must not hold up tasks for ever."""
        with self._lock:
            self._suspended_until = time.monotonic() + _SUSPENDED_SECONDS

    def _run(self) -> None:
        backoff = 1.0
        while True:
            self._changed.wait()
            self._changed.clear()
            while self._is_short():
                if not self._sandboxes.is_idle(_QUIET_SECONDS):
                    time.sleep(_LOOK_SECONDS)
                    continue
                try:
                    with self._making:
                        self._make_ahead()
                    backoff = 1.0
                except Unstartable as exc:
                    self._give_up(str(exc))
                except Exception as exc:
                    is_expected = isinstance(exc, RuntimeUnavailable | MachineFault)
                    level = logging.DEBUG if is_expected else logging.ERROR
                    log.log(level, "no sandbox made, trying again in %g s", backoff, exc_info=exc)
                    time.sleep(backoff)
                    backoff = min(_LONGEST_BACKOFF_SECONDS, backoff * 2)

    def _is_short(self) -> bool:
        with self._lock:
            count = len(self._ready)
            if self._mode == "slot":
                count += len(self._in_use) + len(self._reserved)
            is_short = self._can_join is None or (self._can_join and count < self._size)
            return is_short and bool(self.node)

    def _make_ahead(self) -> None:
        with self._lock:
            self._number += 1
            node = self.node
            name = names.sandbox(self._installation, node, self._number)
            self._reserved.add(name)  # the sweep must not remove it meanwhile
        try:
            self._sandboxes.make(name, node)
            if self._can_join is None:
                reason = self._sandboxes.why_not_joined(name, node)
                if reason is not None:
                    self._give_up(reason)
                    return
                self._can_join = True
                log.info("containers can join a sandbox here (%s): %d are kept ready", self._mode, self._size)
            with self._lock:
                is_wanted = self.node == node and len(self._ready) < self._size
                if is_wanted:
                    self._ready.append(name)
            if not is_wanted:
                self._sandboxes.remove(name)
        finally:
            with self._lock:
                self._reserved.discard(name)

    def _give_up(self, reason: str) -> None:
        self._can_join = False
        log.warning(
            "containers cannot join a sandbox here, so each gets a network namespace of its own, which is slower: %s "
            "(FERRYMAN_SANDBOX=none turns sandboxes off)",
            reason,
        )
