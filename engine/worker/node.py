"""A node's threads: one beats, the other joins, passes over the daemon and ties up loose ends.

They are apart so that a slow daemon never makes a beat late. A beat that ended in an error fences nobody; one
that met no row does: then the node lets go of everything, takes a new id and joins again.
"""

from __future__ import annotations

import logging
import secrets
import socket
import threading
import time

from engine import failpoints
from engine.errors import RuntimeUnavailable, StoreUnavailable
from engine.lifecycle import nodes as verbs
from engine.model.records import Node
from engine.model.states import NodeState, TaskState
from engine.runtime.base import Cause
from engine.worker.adopt import Adopter
from engine.worker.drained import Drained
from engine.worker.here import Here

log = logging.getLogger("ferryman.node")

#: While no beat calls for a pass, one is made every so many beats.
_UNASKED_BEATS = 30


def new_id() -> str:
    """An id that no node had before."""
    return secrets.token_hex(8)


class NodeThreads:
    """The beat and the pass of this worker process."""

    def __init__(self, here: Here) -> None:
        self._here = here
        self._adopter = Adopter(here)
        self._drained = Drained(here)
        self._fenced = threading.Event()
        self._stop = threading.Event()
        #: The pass may find something, or the daemon is in doubt.
        self._called = threading.Event()
        self._runtime_ok = True
        self._joined = False

    def start(self) -> None:
        """Begin to join and to beat."""
        threading.Thread(target=self._beat_loop, name="beat", daemon=True).start()
        threading.Thread(target=self._pass_loop, name="pass", daemon=True).start()

    def stop(self) -> None:
        """End both threads: the process leaves."""
        self._stop.set()
        self._called.set()

    # The beat's thread.

    def _beat_loop(self) -> None:
        pace = self._here.installation.settings.beat_seconds
        while not self._stop.is_set():
            began = time.monotonic()
            if self._joined and not self._fenced.is_set():
                try:
                    self._beat()
                except StoreUnavailable as exc:
                    log.warning("no beat: %s", exc)
                except Exception:
                    log.exception("beat")
            self._stop.wait(max(0.01, began + pace - time.monotonic()))

    def _beat(self) -> None:
        here = self._here
        hands = here.hands.all()
        answer = verbs.beat(here.installation, here.node_id, [hand.token.task_id for hand in hands])
        if answer.fenced:
            log.warning("node %s was fenced: it lets go and joins again", here.node_id[:8])
            here.live = False
            self._fenced.set()
            self._called.set()
            self._drained.end_if_begun()
            here.hands.detach_all()
            return
        if answer.calls:
            here.sweeper.stir()
        if answer.calls or here.doubt.is_set():
            self._called.set()
        if answer.leaving and not here.leaving.is_set():
            self._drained.begin()
        for hand in hands:
            state, attempt, delivery = answer.hands.get(hand.token.task_id, (None, 0, 0))
            if state is TaskState.CANCELLED:
                failpoints.hit("cancel.seen")
                hand.control.kill(Cause.CANCELLED)
            elif state is not TaskState.RUNNING or (attempt, delivery) != (
                hand.token.attempt,
                hand.token.delivery,
            ):
                hand.control.detach()

    # The pass's thread.

    def _pass_loop(self) -> None:
        pace = self._here.installation.settings.beat_seconds
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                self._step()
            except RuntimeUnavailable as exc:
                self._runtime_is_silent(exc)
            except StoreUnavailable as exc:
                log.warning("no pass: %s", exc)
            except Exception:
                log.exception("pass")
            self._stop.wait(max(0.01, began + pace - time.monotonic()))
            if self._here.live and not self._fenced.is_set():
                self._called.wait(max(0.0, began + pace * _UNASKED_BEATS - time.monotonic()))
            self._called.clear()

    def _step(self) -> None:
        here = self._here
        if here.leaving.is_set() or here.draining.is_set():
            return
        if self._fenced.is_set() or not self._joined:
            self._enter()
        if not self._runtime_ok:
            here.runtime.describe()
            if verbs.runtime_back(here.installation, here.node_id):
                self._runtime_ok = True
        if not here.live:
            if self._runtime_ok and self._adopter.join():
                self._serve()
            return
        if here.doubt.is_set():
            here.doubt.clear()
            here.runtime.describe()
        self._adopter.look()
        self._adopter.tie_up()

    def _enter(self) -> None:
        """A new row under a new id; its queue changes with it."""
        here = self._here
        # Fenced between its LIVE row and `_serve`, it took itself for live: the new row is not, so it joins.
        here.live = False
        old = here.own_queue if self._joined else None
        if self._joined:
            here.node_id = new_id()
        try:
            daemon: str | None = here.runtime.describe()
            self._runtime_ok = True
        except RuntimeUnavailable as exc:
            log.warning("Docker does not answer: %s", exc)
            daemon, self._runtime_ok = None, False
        verbs.join(here.installation, self._node(daemon))
        self._joined = True
        self._fenced.clear()
        if here.window is not None and old is not None:
            here.window.rename_own(old, here.own_queue)

    def _node(self, daemon: str | None) -> Node:
        here = self._here
        return Node(
            id=here.node_id,
            name=here.name,
            host=socket.gethostname(),
            state=NodeState.JOINING,
            beat=0,
            runtime_ok=self._runtime_ok,
            looked=0,
            lapse_no=None,
            queues=here.queues,
            slots=here.slots,
            daemon=daemon,
            started_at=0,
            seen_at=0,
        )

    def _serve(self) -> None:
        here = self._here
        here.live = here.served = True
        here.sandboxes.open(here.node_id)
        if here.window is not None:
            here.window.refresh()
        log.info(
            "node %s is live: %s · queues %s · %d slots · lease %g s",
            here.node_id[:8],
            here.name,
            ", ".join(here.queues),
            here.slots,
            here.installation.settings.lease_seconds,
        )

    def _runtime_is_silent(self, exc: RuntimeUnavailable) -> None:
        here = self._here
        if not self._runtime_ok:
            return
        log.warning("Docker does not answer, nothing is claimed: %s", exc)
        here.live = False
        self._runtime_ok = False
        here.sandboxes.shut()
        if here.window is not None:
            here.window.refresh()
        verbs.runtime_silent(here.installation, here.node_id)
