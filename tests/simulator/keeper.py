"""Reconciler and flusher of a simulated process: sends, lapses, restarts, time-outs, resends."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from engine.lifecycle.resend import resend
from engine.lifecycle.restart import restart
from engine.lifecycle.timeout import timeout
from engine.model.records import Task, Token
from engine.model.states import TaskState
from engine.store import events, outbox
from tests.simulator.around import Around
from tests.support.callers import TESTER

#: Looks at a beat that stands still, at lost work, at a message that nobody claims, before something is done.
LEASE_LOOKS = 8
GRACE_LOOKS = 1
RESEND_LOOKS = 4


class Keeper:
    """Reconciler and flusher of one process, whose observations die with the process."""

    def __init__(self, name: str, around: Around) -> None:
        self.name, self.rows, self.installation = name, around.rows, around.rows.world.installation
        self.broker, self.checker, self.story = around.broker, around.checker, around.story
        self.daemons, self.stalls = around.daemons, around.stalls
        self._seen: dict[str, tuple[int, int]] = {}
        self._lost: dict[tuple[Token, int], int] = {}
        self._refused: dict[Token, int] = {}
        self._sent: dict[Token, int] = {}

    def keeps(self) -> Generator[None, None, Any]:
        while True:
            yield
            for task in self.rows.due():
                yield
                yield from self.flushes(task)
            yield
            self.watches()
            yield from self.times_out()
            yield from self.restarts()
            yield
            yield from self.resends()

    def flushes(self, task: Task) -> Generator[None, None, Any]:
        """Publish, then mark."""
        self.broker.send(task.queue, task.token, 0)
        self.story.tell(self.name, "publishes", task.token)
        yield
        self.marks(task)

    def marks(self, task: Task) -> None:
        before = self.rows.task(task.id)
        with self.rows.world.db.begin() as c:
            done = bool(outbox.mark_sent(c, [task]))
            if done:
                events.add(c, TESTER, "task", task, from_state=task.state, to_state=TaskState.SCHEDULED)
        if done:
            self.checker.wrote("mark_sent", task.token, before)

    def watches(self) -> None:
        for id, beat in self.rows.beats():
            before, looks = self._seen.get(id, (beat, 0))
            looks = looks + 1 if before == beat else 0
            self._seen[id] = (beat, looks)
            if looks >= LEASE_LOOKS and self.rows.lapse(id, beat):
                self.story.tell(self.name, f"sees {id} lapse")

    def times_out(self) -> Generator[None, None, Any]:
        """End attempts past their time whose node is gone."""
        for task in self.rows.overdue():
            yield from self.stalls()
            before = self.rows.task(task.id)
            if timeout(self.installation, TESTER, task.token):
                self.checker.wrote("timeout", task.token, before)
                self.checker.timed_out(self.rows, task.token)
                self.checker.given_up(self.rows, before, self.daemons)
                self.story.tell(self.name, "ends it: its time is over and its node is gone", task.token)

    def restarts(self) -> Generator[None, None, Any]:
        _, lost = self.rows.lost()
        self._lost = {(task.token, n): self._lost.get((task.token, n), 0) + 1 for task, n in lost}
        for (token, number), looks in self._lost.items():
            if looks < GRACE_LOOKS or self._refused.get(token) == self.rows.nodes_as_they_are():
                continue
            yield from self.stalls()
            before = self.rows.task(token.task_id)
            if restart(self.installation, TESTER, token, number):
                self.checker.wrote("restart", token, before)
                self.checker.restarted(self.rows, before, self.daemons)
                self.story.tell(self.name, "has it start again elsewhere", token)
            else:
                self._refused[token] = self.rows.nodes_as_they_are()

    def resends(self) -> Generator[None, None, Any]:
        sent = self.rows.scheduled()
        self._sent = {task.token: self._sent.get(task.token, 0) + 1 for task in sent}
        late = [task for task in sent if self._sent[task.token] >= RESEND_LOOKS or self.broker.emptied]
        self.broker.emptied = False
        for task in late:
            yield from self.stalls()
            before = self.rows.task(task.id)
            if resend(self.installation, TESTER, [task], "lost"):
                self.checker.wrote("resend", task.token, before)
