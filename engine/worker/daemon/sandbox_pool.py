"""The sandboxes of this node: made ahead while its daemon is quiet, lent to a claim, never used by two attempts.

Under `pod` (the default) a sandbox is one attempt's and goes when it has ended. Under `slot` it comes back for the
next one. Under `plain`, and where joining does not work, nothing is offered.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable

from engine import failpoints
from engine.errors import RuntimeUnavailable, Unstartable
from engine.lifecycle.sandbox import Offered
from engine.model import names
from engine.runtime.base import Cause, Order, Resource, Sandboxes
from engine.settings import RuntimeSettings
from engine.worker.running import RunningLinks

log = logging.getLogger("ferryman.network")

#: A sandbox is made ahead only after a pause this long: under full load none is, so it never costs throughput.
_QUIET_SECONDS = 0.15
_LOOK_SECONDS = 0.05
_LONGEST_BACKOFF_SECONDS = 30.0
#: After a sandbox died under a link, whatever kills them has this long to be gone.
_MISTRUST_SECONDS = 60.0


def sandbox_called(name: str, node_id: str = "") -> Resource:
    """A sandbox as a thing to be removed."""
    return Resource("sandbox", name, name, node=node_id)


class SandboxPool:
    """What this node holds and lends. Thread-safe; its thread makes what is missing."""

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
        self._way = settings.sandbox
        self._wanted = slots if self._way == "slot" else min(settings.warm_sandboxes, slots)
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._node = ""
        self._number = 0
        #: Joining works here: None until it was tried.
        self._works: bool | None = False if self._way == "none" else None
        self._warm: deque[str] = deque()
        #: Lent to a claim whose outcome is not known yet.
        self._lent: set[str] = set()
        #: Named by a claim, and still to be made.
        self._owed: set[str] = set()
        #: Of attempts that run here, under `slot`.
        self._used: set[str] = set()
        self._mistrusted_until = 0.0
        #: Held while one is made ahead.
        self._making = threading.Lock()

    @property
    def node(self) -> str:
        """The node in whose name sandboxes are made; "" while none is open."""
        return self._node

    def start(self) -> None:
        """Begin to make what is missing, once a node is open."""
        if self._works is None:
            threading.Thread(target=self._run, name="sandboxes", daemon=True).start()

    def open(self, node_id: str) -> None:
        """This node is LIVE: from now on sandboxes are made in its name. Those of the node before are the sweep's."""
        with self._lock:
            self._node = node_id
            self._warm.clear()
            self._lent.clear()
            self._used.clear()
        self._changed.set()

    def shut(self, patience: float = 0.0) -> list[Resource]:
        """The node claims nothing any more: nothing is made or lent. Returns the unused sandboxes, to be removed.

        One that is just being made is waited for, `patience` seconds at most; its maker removes it.
        """
        with self._lock:
            idle = [sandbox_called(name, self._node) for name in self._warm]
            self._node = ""
            self._warm.clear()
        if self._making.acquire(timeout=patience):
            self._making.release()
        return idle

    def reserve(self) -> Offered:
        """What the next claim may take. Whoever lends says by `release` what became of it."""
        with self._lock:
            if not self._works or not self._node or time.monotonic() < self._mistrusted_until:
                return Offered()
            self._number += 1
            fresh = names.sandbox(self._installation, self._node, self._number)
            warm = self._warm.popleft() if self._warm else None
            if warm is not None:
                self._lent.add(warm)
        failpoints.hit("sandbox.taken")
        return Offered(warm, fresh)

    def release(self, offered: Offered, sandbox: str | None, *, is_known: bool = True) -> None:
        """The claim took `sandbox` of what was offered, or nothing (None); `is_known` False: nobody can say.

        What it may have taken is lent to nobody else: the sweep removes it, if no row names it.
        """
        with self._lock:
            if offered.warm is not None and offered.warm in self._lent:
                self._lent.discard(offered.warm)
                if is_known and sandbox != offered.warm:
                    self._warm.appendleft(offered.warm)
            if sandbox is not None and sandbox == offered.fresh:
                self._owed.add(sandbox)
            if sandbox is not None and self._way == "slot":
                self._used.add(sandbox)
        self._changed.set()

    def create_reserved(self, order: Order) -> None:
        """Make the order's sandbox, if its claim named one that was to be made. Raises RuntimeUnavailable.

        One that Docker refuses is not there, which the start of the link will find.
        """
        name = order.sandbox
        with self._lock:
            if name is None or name not in self._owed:
                return
            node = self._node
        try:
            self._sandboxes.make(name, node)
            failpoints.hit("sandbox.made")
        except Unstartable as exc:
            log.warning("%s", exc)
        finally:
            with self._lock:
                self._owed.discard(name)

    def recycle(self, order: Order) -> bool:
        """The attempt has ended well-ordered, all its containers too: under `slot` its sandbox serves the next one.

        False: the sandbox goes with the run.
        """
        with self._lock:
            if order.sandbox is None or order.sandbox not in self._used:
                return False
            self._used.discard(order.sandbox)
            if len(self._warm) >= self._wanted:
                return False
            self._warm.append(order.sandbox)
        return True

    def kept(self) -> frozenset[str]:
        """The names of sandboxes that are nobody's yet, but may be soon. (Those in use are named by a row.)"""
        with self._lock:
            return frozenset((*self._warm, *self._lent))

    def existing(self) -> frozenset[str]:
        """The sandboxes that must run: unused ones, and those that links in hand joined. See `drop_dead`."""
        with self._lock:
            owed, warm = set(self._owed), set(self._warm)
        joined = {link.sandbox for link in self._running.all() if link.sandbox is not None}
        return frozenset(warm | joined - owed)

    def drop_dead(self, existing: Iterable[str], things: Iterable[Resource]) -> None:
        """Those that did not run when the daemon was listed: links that joined one are killed, it has no network.

        Such a task starts again, at no retry's cost.
        """
        dead = set(existing) - {t.name for t in things if t.kind == "sandbox" and t.state == "running"}
        if not dead:
            return
        with self._lock:
            self._warm = deque(name for name in self._warm if name not in dead)
        for link in self._running.all():
            if link.sandbox in dead:
                log.warning("the sandbox %s died: task %s starts again", link.sandbox, link.token.task_id)
                link.control.kill(Cause.SANDBOX_LOST)
        self._changed.set()

    def suspend(self) -> None:
        """A sandbox died under a link: none is lent for a minute, so that what kills them holds up no task for ever."""
        with self._lock:
            self._mistrusted_until = time.monotonic() + _MISTRUST_SECONDS

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
                    level = logging.DEBUG if isinstance(exc, RuntimeUnavailable) else logging.ERROR
                    log.log(level, "no sandbox made", exc_info=exc)
                    time.sleep(backoff)
                    backoff = min(_LONGEST_BACKOFF_SECONDS, backoff * 2)

    def _is_short(self) -> bool:
        with self._lock:
            there = len(self._warm) + (len(self._used) + len(self._lent) if self._way == "slot" else 0)
            is_short = self._works is None or (self._works and there < self._wanted)
            return is_short and bool(self._node)

    def _make_ahead(self) -> None:
        with self._lock:
            self._number += 1
            node = self._node
            name = names.sandbox(self._installation, node, self._number)
            self._lent.add(name)  # to us: the sweep leaves it alone meanwhile
        try:
            self._sandboxes.make(name, node)
            if self._works is None:
                why = self._sandboxes.why_not_joined(name, node)
                if why is not None:
                    self._give_up(why)
                    return
                self._works = True
                log.info(
                    "a network made ahead can be joined here (%s): %d kept ready", self._way, self._wanted
                )
            with self._lock:
                is_wanted = self._node == node and len(self._warm) < self._wanted
                if is_wanted:
                    self._warm.append(name)
            if not is_wanted:
                self._sandboxes.remove(name)
        finally:
            with self._lock:
                self._lent.discard(name)

    def _give_up(self, why: str) -> None:
        self._works = False
        log.warning(
            "each container gets a network namespace of its own, which is slower: one that is made ahead cannot "
            "be joined here: %s (FERRYMAN_SANDBOX=none says so from the start)",
            why,
        )
