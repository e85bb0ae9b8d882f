"""Rows without containers: the cost of Ferryman itself, beside plain Celery on a worker with the same slots."""

from __future__ import annotations

import itertools
import time
from contextlib import ExitStack

from engine.model.records import Link
from tests.bench.figures import OURS, Row, take_turns
from tests.bench.ground import Ground, await_ends
from tests.bench.plain_celery import SLOTS, PlainWorker, plain_worker
from tests.support.fleet import Fleet

_NOOP = "name: noop\nimage: none\ncmd: ['true']\n"
#: Tasks in a round: a second or more of work for each way.
_TASKS = 300
_STEPS = 40


def noops(ground: Ground) -> Row:
    """Measure no-op tasks a second."""
    what = f"no-op tasks a second, {_TASKS} from one process to {SLOTS} slots, each transition stored"
    row = Row("noops", what, "/s", "celery, Redis results")
    with ExitStack() as stack:
        fleet = _null_fleet(ground, stack, "noops")
        in_redis, in_sql = _plain(ground, stack, "noops")
        sent = itertools.count(1)

        def ours() -> float:
            began = time.perf_counter()
            fleet.submit(_NOOP, _TASKS)
            await_ends(fleet, next(sent) * _TASKS)
            return _TASKS / (time.perf_counter() - began)

        take_turns(
            row,
            {
                OURS: ours,
                "celery, Redis results": lambda: in_redis.many(_TASKS),
                "celery, SQL results": lambda: in_sql.many(_TASKS),
            },
            ground.n,
        )
    return row


def steps(ground: Ground) -> Row:
    """Measure the latency of a step."""
    what = f"a step of a chain of {_STEPS} no-ops (the whole by {_STEPS})"
    row = Row("steps", what, "ms", "celery, Redis results")
    text = _NOOP + f"pre: [{', '.join(['{image: none}'] * (_STEPS - 1))}]\n"
    gaps: list[float] = []
    with ExitStack() as stack:
        fleet = _null_fleet(ground, stack, "steps")
        in_redis, _ = _plain(ground, stack, "steps")
        sent = itertools.count(1)

        def ours() -> float:
            began = time.perf_counter()
            (task_id,) = fleet.submit(text)
            await_ends(fleet, next(sent))
            took = (time.perf_counter() - began) * 1000 / _STEPS
            gaps.extend(_gaps(fleet.links(task_id)))
            return took

        take_turns(row, {OURS: ours, "celery, Redis results": lambda: in_redis.chain(_STEPS)}, ground.n)
    row.series[f"{OURS}, end(n) -> confirmed(n+1)"] = gaps
    return row


def _gaps(links: list[Link]) -> list[float]:
    ordered = sorted(links, key=lambda link: link.index)
    return [
        float(after.started_at - before.ended_at)
        for before, after in itertools.pairwise(ordered)
        if after.started_at is not None and before.ended_at is not None
    ]


def _null_fleet(ground: Ground, stack: ExitStack, name: str) -> Fleet:
    fleet = stack.enter_context(ground.fleet(name))
    words = ("-Q", "default", "-c", str(SLOTS), "-l", "WARNING")
    quiet = {"FERRYMAN_LOG_LEVEL": "WARNING", "FERRYMAN_SANDBOX": "none"}
    fleet.worker(*words, module="tests.bench.null_worker", **quiet)
    return fleet


def _plain(ground: Ground, stack: ExitStack, name: str) -> tuple[PlainWorker, PlainWorker]:
    home, url = ground.directory / name, ground.redis.url
    in_redis = stack.enter_context(plain_worker(url, url, home / "plain-redis.log"))
    in_sql = stack.enter_context(plain_worker(url, f"db+sqlite:///{home}/results.db", home / "plain-sql.log"))
    return in_redis, in_sql
