"""Steps that change the task's row without a node: the API, the flusher, the reconcilers."""

from __future__ import annotations

from tests.model import model_mutants
from tests.model.model_mutants import holds
from tests.model.moves import Moves
from tests.model.state import DATA, ENDED, LIVING, RETRIES, Row


class RowMoves(Moves):
    """Steps of submit, flush, resend, cancel, restart and timeout."""

    def rows(self) -> None:
        """Add all of them except the reconcilers' restart."""
        s, row = self.s, self.row
        if row.state == "NONE":
            return self.add("api: submit (201)", row=row._replace(state="PENDING"))
        if s.flush or row.state == "PENDING":
            self._flush()
        if row.state == "SCHEDULED" and not self.bound.consume:
            self.add("reconciler: resend", row=row._replace(state="PENDING"))
        if row.state == "RETRYING":
            self.add("reconciler: retry due, -> PENDING", row=row._replace(state="PENDING"))
        if s.cancels and holds("cancel", state=row.state not in ENDED):
            error = "I2 a second end was recorded" if row.state in ENDED else ""
            self.add("api: CANCEL", error, True, row=row._replace(state="CANCELLED"), cancels=s.cancels - 1)
        if self.bound.timeout:
            self._timeout()
        return None

    def _flush(self) -> None:
        """Publish PENDING rows (the outbox), then mark them; the second step may come late or never."""
        s, row, mark_first = self.s, self.row, model_mutants.planted == "mark-first"
        what, after = s.flush or row.token, () if s.flush else row.token
        if bool(s.flush) == mark_first:
            self.add(f"flush: publish {what}", messages=s.messages | {(*what, 0, 0)}, flush=after)
        elif holds("mark", state=row.state == "PENDING", token=what == row.token) or mark_first:
            error = "I2 an ended row changed" if row.state in ENDED else ""
            self.add(f"flush: mark {what} SCHEDULED", error, row=row._replace(state="SCHEDULED"), flush=after)
        else:
            self.add(f"flush: mark {what} SCHEDULED: refused", flush=after)
        self.add("CRASH of the flusher", fault=True, flush=())

    def _blocking_looked(self) -> bool:
        """Return whether each node that may still find something has looked since the owner's lapse."""
        states = ("LIVE",) if model_mutants.planted == "restart-joining" else LIVING
        deaf = model_mutants.planted == "restart-deaf"
        return all(n.looked for n in self.s.nodes if n.state in states and (n.runtime_ok or deaf))

    def restart(self, j: int) -> None:
        """Start the chain again elsewhere: look, then compare-and-set; two reconcilers may be between both."""
        s, row, seen = self.s, self.row, self.s.reconcilers[j]
        if not seen:
            if row.state == "RUNNING" and s.lapsed():
                label = f"reconciler {j + 1} reads: the owner is {s.owner()}"
                self.add(label, reconcilers=self._read(j, row.token))
            return
        ok = holds(
            "restart",
            state=row.state == "RUNNING",
            delivery=seen[1] == row.delivery,
            lapsed=s.lapsed(),
            looked=self._blocking_looked(),
        )
        if not ok or row.node == 0 or seen[0] != row.attempt:
            return self.add(f"reconciler {j + 1}: restart refused", reconcilers=self._read(j, ()))
        for after, ghosts in self.handed(state="PENDING", node=0):
            error = self._restart_error()
            if after.state == "PENDING" and model_mutants.planted == "restart-raises-attempt":
                after = after._replace(attempt=row.attempt + 1, delivery=1)
                error = "I6 a crash used up the owner's retry"
            elif after.state == "PENDING":
                delivery = {"restart-delivery": seen[1] + 1, "restart-same-token": row.delivery}
                after = after._replace(delivery=delivery.get(model_mutants.planted, after.delivery))
            label = f"reconciler {j + 1}: RESTART elsewhere -> {after.state} {after.token}"
            self.add(label, error, row=after, reconcilers=self._read(j, ()), **ghosts)

    def _read(self, j: int, token: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        found = self.s.reconcilers
        return (*found[:j], token, *found[j + 1 :])

    def _restart_error(self) -> str:
        s = self.s
        if self.row.state in ENDED:
            return "I2 an ended task was restarted"
        if not s.lapsed():
            return "I6 taken from a node that has not lapsed"
        for dm in range(1, len(s.daemons) + 1):
            if self.bound.living(s, dm, LIVING) and self._has_work(dm):
                return "I7 a restart threw away work that a node could have adopted"
        return ""

    def _has_work(self, dm: int) -> bool:
        """Return whether there is a started container, or a link's data."""
        row, daemon = self.row, self.s.daemons[dm - 1]
        run = (row.attempt, row.origin)
        started = any(b[:2] == run and b.state in ("running", "0", "1") for b in daemon.boxes)
        return started or (*run, DATA) in daemon.volumes

    def _timeout(self) -> None:
        """End an attempt whose time is over and whose node is gone."""
        s, row = self.s, self.row
        ok = holds("timeout", lapsed=s.lapsed(), looked=self._blocking_looked())
        if row.state == "RUNNING" and row.node and ok:
            error = "" if s.lapsed() else "I6 taken from a node that has not lapsed"
            self.add("reconciler: TIMEOUT", error, row=ended_badly(row), links=self._fresh(), quick=0)

    def _fresh(self) -> tuple[tuple[str, int], ...]:
        return (("WAITING", 0),) * self.bound.links if self.row.attempt <= RETRIES else self.s.links


def ended_badly(row: Row) -> Row:
    """Return the row after a failed attempt: the next one waits, or the task has FAILED."""
    if row.attempt > RETRIES:
        return row._replace(state="FAILED")
    return Row("RETRYING", row.attempt + 1)
