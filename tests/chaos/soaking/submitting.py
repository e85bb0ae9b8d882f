"""Client of the API that submits and cancels through every fault, and records each answer."""

from __future__ import annotations

import heapq
import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from random import Random

import sqlalchemy as sa

from engine.errors import StoreUnavailable
from engine.model.states import ENDED
from engine.store import tables
from tests.chaos.soaking.ground import Ground
from tests.chaos.soaking.plans import Plan, draw

_ANSWER_SECONDS = 6.0


class Submitter(threading.Thread):
    """Thread that submits one task after another until it is stopped."""

    def __init__(self, ground: Ground, seed: int, most_open: int) -> None:
        super().__init__(name="submit", daemon=True)
        self._ground, self._seed, self._most_open = ground, seed, most_open
        self.plans: dict[str, Plan] = {}
        #: Task id -> name of the plan; the API answered 201.
        self.promised: dict[str, str] = {}
        #: Task ids with a cancel -> True when the API confirmed it.
        self.cancels: dict[str, bool] = {}
        self.answers: Counter[str] = Counter()
        #: Answers that no fault excuses, and a defect of this thread.
        self.wrong: list[str] = []
        self._cancels_due: list[tuple[float, str]] = []
        self._stop_asked = threading.Event()

    def stop(self) -> None:
        """End after the present request."""
        self._stop_asked.set()
        if self.is_alive():
            self.join(3 * _ANSWER_SECONDS)

    def run(self) -> None:
        """Submit, cancel, wait."""
        try:
            chance = Random(f"{self._seed}-submit")
            number = 0
            while not self._stop_asked.is_set():
                if number == 0 or open_tasks(self._ground) < self._most_open:
                    self._submit(draw(self._seed, number, self._ground.notes))
                    number += 1
                while self._cancels_due and self._cancels_due[0][0] <= time.monotonic():
                    self._cancel(heapq.heappop(self._cancels_due)[1])
                self._stop_asked.wait(chance.uniform(0.1, 1.0))
        except Exception as exc:  # noqa: BLE001 - a submitter that dies in silence would make an empty soak pass
            self.wrong.append(f"the submitter ended: {exc!r}")

    def _submit(self, plan: Plan) -> None:
        self.plans[plan.name] = plan
        status, text = self._ask("POST", "/tasks", json.dumps(plan.body).encode())
        self.answers[f"{status or 'no answer'}"] += 1
        if status == 201:
            task_id = str(json.loads(text)["id"])
            self.promised[task_id] = plan.name
            if plan.cancel_after is not None:
                heapq.heappush(self._cancels_due, (time.monotonic() + plan.cancel_after, task_id))
        elif status not in (0, 503):
            self.wrong.append(f"POST /tasks of {plan.name}: {status} {text[:300]}")

    def _cancel(self, task_id: str) -> None:
        self.cancels[task_id] = False
        status, text = self._ask("PUT", f"/tasks/{task_id}/cancel", b"")
        self.cancels[task_id] = status == 200
        if status not in (0, 200, 409, 503):
            self.wrong.append(f"cancel of {task_id}: {status} {text[:300]}")

    def _ask(self, method: str, path: str, body: bytes) -> tuple[int, str]:
        """Return status and text of the answer; status 0 when there was none."""
        request = urllib.request.Request(f"{self._ground.api_url}{path}", data=body, method=method)
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as exc:
            return exc.code, exc.read().decode(errors="replace")
        except (OSError, http.client.HTTPException):
            return 0, ""


def states(ground: Ground) -> Counter[str]:
    """Count the tasks in each state; empty while the store is away."""
    column = tables.tasks.c.state
    try:
        with ground.fleet.db.read() as c:
            rows = c.execute(sa.select(column, sa.func.count()).group_by(column))
            return Counter({str(state): int(n) for state, n in rows})
    except StoreUnavailable:
        return Counter()


def open_tasks(ground: Ground) -> int:
    """Count the tasks that have not ended; 0 while the store is away, so that the API is asked then too."""
    over = set(map(str, ENDED))
    return sum(n for state, n in states(ground).items() if state not in over)


def stored(ground: Ground) -> dict[str, str]:
    """Map the id of each stored task to its name."""
    with ground.fleet.db.read() as c:
        return {row.id: row.name for row in c.execute(sa.select(tables.tasks.c.id, tables.tasks.c.name))}
