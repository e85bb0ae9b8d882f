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
from engine.worker.context import WorkerContext
from engine.worker.node.adoption import Adopter
from engine.worker.node.draining import Draining

log = logging.getLogger("ferryman.node")

#: While no beat calls for a pass, one is made every so many beats.
_UNASKED_BEATS = 30


def new_id() -> str:
    """An id that no node had before."""
    return secrets.token_hex(8)


class NodeThreads:
    """The beat and the pass of this worker process."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._adopter = Adopter(context)
        self._drained = Draining(context)
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
        pace = self._context.installation.settings.cluster.beat_seconds
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
        context = self._context
        running = context.running.all()
        answer = verbs.beat(context.installation, context.node_id, [link.token.task_id for link in running])
        if answer.fenced:
            log.warning("node %s was fenced: it lets go and joins again", context.node_id[:8])
            context.live = False
            self._fenced.set()
            self._called.set()
            self._drained.end_if_begun()
            context.running.detach_all()
            return
        if answer.calls:
            context.sweeper.wake()
        if answer.calls or context.doubt.is_set():
            self._called.set()
        if answer.leaving and not context.leaving.is_set():
            self._drained.begin()
        for link in running:
            state, attempt, delivery = answer.running.get(link.token.task_id, (None, 0, 0))
            if state is TaskState.CANCELLED:
                failpoints.hit("cancel.seen")
                link.control.kill(Cause.CANCELLED)
            elif state is not TaskState.RUNNING or (attempt, delivery) != (
                link.token.attempt,
                link.token.delivery,
            ):
                link.control.detach()

    # The pass's thread.

    def _pass_loop(self) -> None:
        pace = self._context.installation.settings.cluster.beat_seconds
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
            if self._context.live and not self._fenced.is_set():
                self._called.wait(max(0.0, began + pace * _UNASKED_BEATS - time.monotonic()))
            self._called.clear()

    def _step(self) -> None:
        context = self._context
        if context.leaving.is_set() or context.draining.is_set():
            return
        if self._fenced.is_set() or not self._joined:
            self._enter()
        if not self._runtime_ok:
            context.runtime.describe()
            if verbs.runtime_back(context.installation, context.node_id):
                self._runtime_ok = True
        if not context.live:
            if self._runtime_ok and self._adopter.join():
                self._serve()
            return
        if context.doubt.is_set():
            context.doubt.clear()
            context.runtime.describe()
        self._adopter.look()
        self._adopter.retake_orphans()

    def _enter(self) -> None:
        """A new row under a new id; its queue changes with it."""
        context = self._context
        # Fenced between its LIVE row and `_serve`, it took itself for live: the new row is not, so it joins.
        context.live = False
        old = context.own_queue if self._joined else None
        if self._joined:
            context.node_id = new_id()
        try:
            daemon: str | None = context.runtime.describe()
            self._runtime_ok = True
        except RuntimeUnavailable as exc:
            log.warning("Docker does not answer: %s", exc)
            daemon, self._runtime_ok = None, False
        verbs.join(context.installation, self._node(daemon))
        self._joined = True
        self._fenced.clear()
        if context.window is not None and old is not None:
            context.window.rename_own(old, context.own_queue)

    def _node(self, daemon: str | None) -> Node:
        context = self._context
        return Node(
            id=context.node_id,
            name=context.name,
            host=socket.gethostname(),
            state=NodeState.JOINING,
            beat=0,
            runtime_ok=self._runtime_ok,
            looked=0,
            lapse_no=None,
            queues=context.queues,
            slots=context.slots,
            daemon=daemon,
            started_at=0,
            seen_at=0,
        )

    def _serve(self) -> None:
        context = self._context
        context.live = context.served = True
        context.sandboxes.open(context.node_id)
        if context.window is not None:
            context.window.refresh()
        log.info(
            "node %s is live: %s · queues %s · %d slots · lease %g s",
            context.node_id[:8],
            context.name,
            ", ".join(context.queues),
            context.slots,
            context.installation.settings.cluster.lease_seconds,
        )

    def _runtime_is_silent(self, exc: RuntimeUnavailable) -> None:
        context = self._context
        if not self._runtime_ok:
            return
        log.warning("Docker does not answer, nothing is claimed: %s", exc)
        context.live = False
        self._runtime_ok = False
        context.sandboxes.shut()
        if context.window is not None:
            context.window.refresh()
        verbs.runtime_silent(context.installation, context.node_id)
