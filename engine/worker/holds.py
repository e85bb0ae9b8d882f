"""Holds of this worker's node: why it claims nothing for now, and the thread that writes and ends them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from engine.errors import FerrymanError, StoreUnavailable
from engine.lifecycle import nodes as verbs
from engine.lifecycle.installation import Installation
from engine.model.records import Caller
from engine.model.states import HoldKind
from engine.wording.durations import duration
from engine.wording.text import foreign_words

log = logging.getLogger("ferryman.held")

#: The first probe comes at once; it is repeated after 1 s, then after 2, 4 … 30 s.
_LONGEST_BACKOFF_SECONDS = 30.0

#: Trial of the part that holds the node: "" when the part works again, else the reason in words.
Probe = Callable[[], str]


@dataclass
class _Held:
    reason: str
    probe: Probe | None
    since: float
    probe_at: float
    wait_seconds: float = 0.5


class Holds:
    """Thread-safe register of the kinds that hold the node. The node claims again when none is left.

    The row follows within a moment, or when the database answers again; the intake does not wait for the row.
    """

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._stopped = False
        self._held: dict[HoldKind, _Held] = {}
        #: The node whose row was written, and what it says.
        self._written: tuple[str, dict[HoldKind, str]] = ("", {})
        self._caller: Callable[[], Caller] | None = None
        self._on_change: Callable[[], None] = lambda: None

    def start(self, caller: Callable[[], Caller], on_change: Callable[[], None]) -> None:
        """Start the thread. `caller` is the present node; `on_change` is called when a hold begins or ends."""
        self._caller, self._on_change = caller, on_change
        threading.Thread(target=self._run, name="holds", daemon=True).start()

    def stop(self) -> None:
        """End the thread: the process leaves."""
        self._stopped = True
        self._changed.set()

    @property
    def kinds(self) -> tuple[HoldKind, ...]:
        """Kinds that hold the node now."""
        with self._lock:
            return tuple(self._held)

    def hold(self, kind: HoldKind, reason: str, probe: Probe | None = None, at_least: float = 0.0) -> None:
        """Claim nothing for `at_least` seconds, and until `release` or until the probe passes.

        A kind that holds already gets the new reason.
        """
        now, reason = time.monotonic(), foreign_words(reason)
        with self._lock:
            held = self._held.get(kind)
            if held is None:
                self._held[kind] = _Held(reason, probe, now, now + at_least)
            else:
                held.reason, held.probe_at = reason, max(held.probe_at, now + at_least)
        if held is None:
            log.warning("held (%s), nothing is claimed for now: %s", kind, reason)
            self._on_change()
        self._changed.set()

    def release(self, kind: HoldKind) -> None:
        """End the hold of this kind."""
        with self._lock:
            held = self._held.pop(kind, None)
        if held is not None:
            log.warning("released (%s) after %s", kind, duration((time.monotonic() - held.since) * 1000))
            self._on_change()
            self._changed.set()

    def _run(self) -> None:
        is_written = True
        while True:
            self._changed.wait(self._seconds_left(is_written))
            self._changed.clear()
            if self._stopped:
                return
            try:
                # Written first, so that a hold is told even if the probe passes at once.
                is_written = self._write()
                self._probe_due()
            except StoreUnavailable as exc:
                is_written = False
                log.debug("the holds are not written yet: %s", exc)
            except Exception:
                # A defect must not end the thread, which alone can release the node.
                is_written = False
                log.exception("the holds of this node")

    def _seconds_left(self, is_written: bool) -> float:
        """Return the time until the next probe is due, at most a beat: the node may have a new row by then."""
        pace = self._installation.settings.cluster.beat_seconds
        with self._lock:
            due = [held.probe_at for held in self._held.values() if held.probe is not None]
            is_idle = is_written and not self._held
        if is_idle:
            return _LONGEST_BACKOFF_SECONDS
        return max(0.01, min([time.monotonic() + pace, *due]) - time.monotonic())

    def _probe_due(self) -> None:
        now = time.monotonic()
        with self._lock:
            due = [(kind, held) for kind, held in self._held.items() if held.probe and held.probe_at <= now]
        for kind, held in due:
            assert held.probe is not None
            try:
                reason = held.probe()
            except FerrymanError as exc:
                reason = str(exc)
            except Exception as exc:
                log.exception("a trial of the %s", kind)
                reason = repr(exc)
            # Another fault during the probe asks for another probe.
            is_passed = not reason and held.probe_at <= now
            if is_passed:
                self.release(kind)
            elif reason:
                with self._lock:
                    held.reason = foreign_words(reason)
                    held.wait_seconds = min(_LONGEST_BACKOFF_SECONDS, held.wait_seconds * 2)
                    held.probe_at = time.monotonic() + held.wait_seconds

    def _write(self) -> bool:
        """Bring the row in line; return False when the node has no row yet. Raise StoreUnavailable."""
        assert self._caller is not None
        caller = self._caller()
        with self._lock:
            wanted = {kind: held.reason for kind, held in self._held.items()}
        node_id, written = self._written
        if node_id != caller.node_id:
            written = {}
        done = True
        for kind, reason in wanted.items():
            if written.get(kind) != reason:
                if verbs.hold(self._installation, caller, kind, reason):
                    written[kind] = reason
                else:
                    done = False
        for kind in [kind for kind in written if kind not in wanted]:
            verbs.release(self._installation, caller, kind)
            del written[kind]
        self._written = (caller.node_id, written)
        return done
