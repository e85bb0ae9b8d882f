"""The threads of a node: one beats, the other joins, passes over the daemon and retakes orphans.

Two threads, because a slow daemon must not delay a beat. A beat that ends in an error fences nobody. A beat that
finds no row does: the node lets go of all links, takes a new id and joins again.
"""

from __future__ import annotations

import logging
import secrets
import socket
import threading
import time
from collections.abc import Callable

from engine import failpoints
from engine.errors import ErrorAnswer, RuntimeUnavailable, StoreUnavailable
from engine.lifecycle import nodes as verbs
from engine.model.records import Node
from engine.model.states import NodeState, TaskState
from engine.runtime.base import Cause
from engine.telemetry.patience import Reminder
from engine.worker.context import WorkerContext
from engine.worker.node.adoption import Adopter
from engine.worker.node.draining import Draining

log = logging.getLogger("ferryman.node")

#: A pass is made after this many beats even if no beat calls for one.
_IDLE_PASS_BEATS = 30
#: A daemon that answers nothing but errors to the node's own questions for this long shows no more than a silent one:
#: the node cannot say what runs there, and would hold up every restart.
_ERRORS_SECONDS = 30.0


def new_id() -> str:
    """Return an id that no node had before."""
    return secrets.token_hex(8)


class NodeThreads:
    """The beat and the pass of this worker process."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._adopter = Adopter(context)
        self._draining = Draining(context)
        self._fenced = threading.Event()
        self._stop = threading.Event()
        #: A pass may find something, or the daemon may be silent.
        self._pass_called = threading.Event()
        self._runtime_ok = self._silence_reported = True
        self._silence = Reminder()
        self._joined = False
        #: The queues that the node's row names.
        self._written_queues: tuple[str, ...] = ()
        #: When the daemon began to answer the node's own questions with errors; None while it answers them.
        self._errors_since: float | None = None

    def start(self) -> None:
        """Begin to join and to beat."""
        beat, passes = (self._beat_if_joined, None), (self._pass, self._wait_for_call)
        threading.Thread(target=self._repeat, args=beat, name="beat", daemon=True).start()
        threading.Thread(target=self._repeat, args=passes, name="pass", daemon=True).start()

    def stop(self) -> None:
        """End both threads: the process leaves."""
        self._stop.set()
        self._pass_called.set()

    def _repeat(self, step: Callable[[], None], wait: Callable[[float], None] | None) -> None:
        """Make a step at each beat, or later if `wait` says so; no error ends the thread."""
        pace, name = self._context.installation.settings.cluster.beat_seconds, threading.current_thread().name
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                step()
            except StoreUnavailable as exc:
                log.warning("no %s, the database does not answer: %s", name, exc)
            except Exception:
                log.exception("no %s", name)
            self._stop.wait(max(0.01, began + pace - time.monotonic()))
            if wait is not None:
                wait(began + pace * _IDLE_PASS_BEATS)

    # Called by the beat's thread.

    def _beat_if_joined(self) -> None:
        if self._joined and not self._fenced.is_set():
            self._beat()

    def _beat(self) -> None:
        context = self._context
        running = context.running.all()
        answer = verbs.beat(context.installation, context.caller, [link.token.task_id for link in running])
        if answer.fenced:
            log.warning("node %s was fenced: it lets go of its links and joins again", context.node_id[:8])
            context.live = False
            self._fenced.set()
            self._pass_called.set()
            self._draining.on_fenced()
            context.running.detach_all()
            return
        self._write_queues()
        if answer.calls:
            context.sweeper.wake()
        if answer.calls or context.runtime_in_doubt.is_set():
            self._pass_called.set()
        if answer.leaving and not context.leaving.is_set():
            self._draining.begin()
        for link in running:
            token = link.token
            state, attempt, delivery = answer.running.get(token.task_id, (None, 0, 0))
            if state is TaskState.CANCELLED:
                failpoints.hit("cancel.seen")
                link.control.kill(Cause.CANCELLED)
            elif state is not TaskState.RUNNING or (attempt, delivery) != (token.attempt, token.delivery):
                link.control.detach()

    def _write_queues(self) -> None:
        """Bring the row in line with the queues that are consumed now."""
        context = self._context
        queues = context.queues
        if queues != self._written_queues:
            verbs.serve(context.installation, context.caller, queues)
            self._written_queues = queues
            log.info(
                "node %s serves the queues %s now", context.node_id[:8], ", ".join(queues) or "of nobody"
            )

    # Called by the pass's thread.

    def _wait_for_call(self, latest: float) -> None:
        if self._context.live and not self._fenced.is_set():
            self._pass_called.wait(max(0.0, latest - time.monotonic()))
        self._pass_called.clear()

    def _pass(self) -> None:
        try:
            self._join_or_look()
            self._errors_since = None
        except ErrorAnswer as exc:
            self._bear_error(exc)
        except RuntimeUnavailable as exc:
            self._report_silence(exc)

    def _bear_error(self, exc: ErrorAnswer) -> None:
        """Make the same pass again soon: an answer, whatever it says, is no silence, unless nothing else comes."""
        now = time.monotonic()
        if self._errors_since is None:
            self._errors_since = now
            log.warning("Docker answers with an error, asking again: %s", exc)
        if now - self._errors_since > _ERRORS_SECONDS:
            self._report_silence(exc)
        self._pass_called.set()

    def _join_or_look(self) -> None:
        context = self._context
        if context.leaving.is_set() or context.draining.is_set():
            return
        if self._fenced.is_set() or not self._joined:
            self._join()
        if not self._runtime_ok:
            context.runtime.describe()
            if verbs.runtime_back(context.installation, context.caller):
                self._runtime_ok = True
                log.info("Docker answers after %.0f s", self._silence.seconds)
        if not context.live:
            if self._runtime_ok and self._adopter.join():
                self._go_live()
            return
        if context.runtime_in_doubt.is_set():
            context.runtime_in_doubt.clear()
            context.runtime.describe()
        self._adopter.look()
        self._adopter.retake_orphans()

    def _join(self) -> None:
        """Insert a row under a new id; the node's queue follows."""
        context = self._context
        # A node that is fenced between its LIVE row and `_go_live` believes it is live: its new row is not.
        context.live = False
        old_queue = context.own_queue if self._joined else None
        if self._joined:
            context.node_id = new_id()
        try:
            daemon: str | None = context.runtime.describe()
            self._runtime_ok = True
        except RuntimeUnavailable:
            # The next look at the daemon says so.
            daemon, self._runtime_ok, self._silence = None, False, Reminder()
        row = self._row(daemon)
        verbs.join(context.installation, context.caller, row)
        self._written_queues = row.queues
        self._joined = True
        self._fenced.clear()
        if old_queue is not None:
            context.intake.rename_own_queue(old_queue, context.own_queue)

    def _row(self, daemon: str | None) -> Node:
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

    def _go_live(self) -> None:
        context = self._context
        context.live = context.served = True
        context.sandboxes.open(context.node_id)
        context.intake.refresh()
        log.info(
            "node %s is live: %s · queues %s · %d slots · lease %g s",
            context.node_id[:8],
            context.name,
            ", ".join(context.queues),
            context.slots,
            context.installation.settings.cluster.lease_seconds,
        )

    def _report_silence(self, exc: RuntimeUnavailable) -> None:
        """Stop claiming, and write it into the row, in a later pass if the database does not answer now."""
        context = self._context
        if self._runtime_ok:
            log.warning("Docker gives no useful answer, nothing is claimed until it does: %s", exc)
            context.live = self._runtime_ok = self._silence_reported = False
            context.sandboxes.close()
            context.intake.refresh()
        if self._silence.is_due():
            log.warning(
                "waiting for Docker, %.0f s so far, nothing is claimed: %s", self._silence.seconds, exc
            )
        if not self._silence_reported:
            verbs.runtime_silent(context.installation, context.caller)
            self._silence_reported = True
