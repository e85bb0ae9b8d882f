"""Faults, each with its repair; the seed and the number of a fault determine it."""

from __future__ import annotations

import contextlib
import heapq
import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random

import redis as redis_client
from docker.errors import APIError, NotFound

from engine.errors import RuntimeUnavailable, StoreUnavailable
from tests.chaos.soaking.ground import Ground, Part
from tests.support.databases import Postgres
from tests.support.task_promises import SHORT

Undo = Callable[[], None]
_NOTHING_TO_BREAK_SECONDS = 0.2
#: Requests to Docker whose answers go wrong.
_REQUESTS = (
    rb"\S+ \S+/containers/create",
    rb"POST \S+/start",
    rb"POST \S+/wait",
    rb"POST \S+/kill",
    rb"GET \S+/logs\?",
    rb"GET \S+/json",
    rb"GET \S+/archive\?",
    rb"DELETE ",
    rb"\S+ \S+/volumes",
    rb"GET \S+/info",
    rb"",
)
#: Room that is left on a disk that is nearly full, for the results of tasks.
_LEFT_BYTES = 256 << 10


@dataclass(frozen=True)
class Hit:
    """Work that lost its process or its container."""

    #: time.time() * 1000.
    at_ms: int
    kind: str
    task_ids: tuple[str, ...]


@dataclass
class Faults:
    """Faults made one after another; `mend` repairs those that are due."""

    ground: Ground
    seed: int
    #: From one fault to the next, on average.
    every_seconds: float
    done: Counter[str] = field(default_factory=Counter)
    hits: list[Hit] = field(default_factory=list)
    _due: list[tuple[float, int, Undo]] = field(default_factory=list)
    _numbers: count[int] = field(default_factory=count)
    _broker_in_fault: bool = False
    _store_in_fault: bool = False

    def begin(self) -> float:
        """Make the next fault, if its part is whole; return the seconds until the one after."""
        number = next(self._numbers)
        chance = Random(f"{self.seed}-fault-{number}")
        kind = chance.choices(list(KINDS), [weight for weight, _ in KINDS.values()])[0]
        pause = self.every_seconds * chance.uniform(0.2, 1.8)
        begun = KINDS[kind][1](self, chance)
        if begun is None:
            return _NOTHING_TO_BREAK_SECONDS
        seconds, undo = begun
        heapq.heappush(self._due, (time.monotonic() + seconds, number, undo))
        self.done[kind] += 1
        return pause

    def mend(self, *, all_of_it: bool = False) -> None:
        """Repair what has been broken for long enough."""
        while self._due and (all_of_it or self._due[0][0] <= time.monotonic()):
            heapq.heappop(self._due)[2]()

    # Processes.

    def worker_killed(self, chance: Random) -> tuple[float, Undo] | None:
        name, seconds = (
            chance.choice(sorted(self.ground.workers)),
            chance.choice([0.1, 1.0, chance.uniform(2, 8)]),
        )
        part = self._whole(self.ground.workers[name])
        if part is None:
            return None
        held = self.ground.held_by(name)
        self._hit("worker killed", held)
        part.kill()
        return seconds, lambda: self._back(part)

    def worker_paused(self, chance: Random) -> tuple[float, Undo] | None:
        name, seconds = chance.choice(sorted(self.ground.workers)), chance.uniform(0.3, 7)
        return self._paused(self.ground.workers[name], seconds)

    def worker_told_to_leave(self, chance: Random) -> tuple[float, Undo] | None:
        name, seconds = chance.choice(sorted(self.ground.workers)), chance.uniform(1, 6)
        part = self._whole(self.ground.workers[name])
        if part is None:
            return None
        part.signal(signal.SIGTERM)
        return seconds, lambda: self._back(part)

    def api_killed(self, chance: Random) -> tuple[float, Undo] | None:
        part, seconds = self._whole(self.ground.api), chance.uniform(0.1, 4)
        if part is None:
            return None
        part.kill()
        return seconds, lambda: self._back(part)

    def api_paused(self, chance: Random) -> tuple[float, Undo] | None:
        return self._paused(self.ground.api, chance.uniform(0.3, 5))

    def _whole(self, part: Part) -> Part | None:
        """Reserve the part for one fault and return it; None when another fault has it or it is not up."""
        if part.in_fault or part.process is None or part.process.poll() is not None:
            return None
        part.in_fault = True
        return part

    def _paused(self, part: Part, seconds: float) -> tuple[float, Undo] | None:
        if self._whole(part) is None:
            return None
        part.signal(signal.SIGSTOP)

        def undo() -> None:
            part.signal(signal.SIGCONT)
            part.in_fault = False

        return seconds, undo

    def _back(self, part: Part) -> None:
        part.kill()
        part.start()
        part.in_fault = False

    def _hit(self, kind: str, task_ids: list[str]) -> None:
        self.hits.append(Hit(round(time.time() * 1000), kind, tuple(task_ids)))

    # The broker and the store.

    def broker_killed(self, chance: Random) -> tuple[float, Undo] | None:
        return self._broker(self.ground.redis.kill, self.ground.redis.start, chance.uniform(0.1, 3))

    def broker_emptied(self, chance: Random) -> tuple[float, Undo] | None:
        redis = self.ground.redis

        def kill() -> None:
            redis.kill()
            for path in redis.directory.glob("appendonlydir/*"):
                path.unlink()

        return self._broker(kill, redis.start, chance.uniform(0.1, 3))

    def broker_stopped(self, chance: Random) -> tuple[float, Undo] | None:
        return self._broker(self.ground.redis.stop, self.ground.redis.start, chance.uniform(2, 10))

    def broker_frozen(self, chance: Random) -> tuple[float, Undo] | None:
        redis = self.ground.redis
        seconds = chance.uniform(0.5, 8)
        return self._broker(
            lambda: redis.signal(signal.SIGSTOP), lambda: redis.signal(signal.SIGCONT), seconds
        )

    def _broker(self, fault: Undo, undo: Undo, seconds: float) -> tuple[float, Undo] | None:
        if self._broker_in_fault:
            return None
        self._broker_in_fault = True
        fault()

        def mended() -> None:
            undo()
            self._broker_in_fault = False

        return seconds, mended

    def message_doubled(self, chance: Random) -> tuple[float, Undo] | None:
        if self._broker_in_fault:
            return None
        client, prefix = self.ground.redis.client, self.ground.fleet.settings.broker.broker_prefix
        try:
            # A list is a queue; sets and hashes are kombu's own.
            keys = sorted(key for key in client.keys(f"{prefix}*") if client.type(key) == "list")
            found = [(key, text) for key in keys for text in client.lrange(key, 0, 20)]
            if not found:
                return None
            key, text = chance.choice(found)
            client.lpush(key, text)
        except redis_client.RedisError:
            return None
        return 0.0, _nothing

    def store_away(self, chance: Random) -> tuple[float, Undo] | None:
        """Stop PostgreSQL, or lock the SQLite file from another process."""
        seconds, ground = chance.uniform(0.5, 6), self.ground
        if self._store_in_fault:
            return None
        if ground.postgres is not None:
            ground.postgres.stop()
            undo: Undo = ground.postgres.start
        else:
            locker = sqlite3.connect(ground.fleet.directory / "ferryman.db", timeout=5, isolation_level=None)
            try:
                locker.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                locker.close()
                return None
            undo = locker.close
        self._store_in_fault = True

        def mended() -> None:
            undo()
            self._store_in_fault = False

        return seconds, mended

    def store_read_only(self, chance: Random) -> tuple[float, Undo] | None:
        """Make every new transaction of PostgreSQL read-only, as on a server that was demoted."""
        postgres, seconds = self.ground.postgres, chance.uniform(0.5, 6)
        if self._store_in_fault or postgres is None:
            return None
        self._store_in_fault = True
        _set_read_only(postgres, is_on=True)

        def mended() -> None:
            _set_read_only(postgres, is_on=False)
            self._store_in_fault = False

        return seconds, mended

    # Docker's answers, and the disk.

    def docker_errs(self, chance: Random) -> tuple[float, Undo] | None:
        return self._docker(chance, "500", chance.randint(1, 4))

    def docker_cuts(self, chance: Random) -> tuple[float, Undo] | None:
        return self._docker(chance, "cut", chance.randint(1, 3))

    def docker_delays(self, chance: Random) -> tuple[float, Undo] | None:
        return self._docker(chance, "delay", chance.randint(1, 6))

    def _docker(self, chance: Random, fault: str, times: int) -> tuple[float, Undo] | None:
        """Make Docker err, cut its answers or delay them, for one worker and one kind of request."""
        proxy = self.ground.dockers[chance.choice(sorted(self.ground.dockers))]
        pattern, seconds = chance.choice(_REQUESTS), chance.uniform(2, 8)
        if proxy.is_armed:
            return None
        proxy.arm(pattern, fault, times, chance.uniform(0.2, 4))
        return seconds, proxy.disarm

    def disk_full(self, chance: Random) -> tuple[float, Undo] | None:
        """Fill the disk of the data directory nearly: what is below the bound of a full disk is left for results."""
        folder, seconds = self.ground.small_disk, chance.uniform(1, 8)
        if folder is None or (file := folder / "filler").exists():
            return None
        about = os.statvfs(folder)
        free = about.f_bavail * about.f_frsize - _LEFT_BYTES
        if free <= 0:
            return None
        with contextlib.suppress(OSError), open(file, "wb") as out:
            os.posix_fallocate(out.fileno(), 0, free)
        return seconds, lambda: file.unlink(missing_ok=True)

    # Containers.

    def container_removed(self, chance: Random) -> tuple[float, Undo] | None:
        return self._remove(chance, whole_run=False)

    def run_removed(self, chance: Random) -> tuple[float, Undo] | None:
        return self._remove(chance, whole_run=True)

    def sandbox_killed(self, chance: Random) -> tuple[float, Undo] | None:
        """Kill or remove a sandbox, ready or in use."""
        runtime, is_removed = self.ground.fleet.runtime(), chance.random() < 0.5
        try:
            sandboxes = sorted(one.name for one in runtime.list() if one.kind == "sandbox")
            if not sandboxes:
                return None
            chosen = chance.choice(sandboxes)
            users = self.ground.joined_to(chosen)
            self.ground.bereft |= set(users)
            self._hit("sandbox killed", users)
            client = runtime.client.api
            client.remove_container(chosen, force=True) if is_removed else client.kill(chosen)
        except StoreUnavailable:
            return None
        except NotFound:
            pass  # the product was faster, as it may be
        except (APIError, RuntimeUnavailable) as exc:
            print(f"not killed: {exc}")
        return 0.0, _nothing

    def _remove(self, chance: Random, *, whole_run: bool) -> tuple[float, Undo] | None:
        """Remove one container by `docker rm -f`, or all containers and volumes of its task."""
        runtime = self.ground.fleet.runtime()
        try:
            things = sorted(runtime.list(), key=lambda one: one.name)
            containers = [one for one in things if one.kind == "container"]
            if not containers:
                return None
            chosen = chance.choice(containers)
            task_id = chosen.run.task_id if chosen.run else ""
            wanted = (
                [one for one in things if one.run and one.run.task_id == task_id] if whole_run else [chosen]
            )
            self.ground.bereft.add(task_id)
            self.ground.removed |= {one.id[:SHORT] for one in wanted if one.kind == "container"}
            self._hit("containers removed", [task_id])
            client = runtime.client.api
            for one in sorted(wanted, key=lambda one: one.kind):
                if one.kind == "container":
                    client.remove_container(one.id, force=True)
                else:
                    client.remove_volume(one.name)
        except NotFound:
            pass  # the product was faster, as it may be
        except (APIError, RuntimeUnavailable) as exc:
            print(f"not removed: {exc}")
        return 0.0, _nothing


def _set_read_only(postgres: Postgres, *, is_on: bool) -> None:
    postgres.sql(f"ALTER SYSTEM SET default_transaction_read_only = {'on' if is_on else 'off'}")
    postgres.sql("SELECT pg_reload_conf()")


def _nothing() -> None:
    """Repair nothing, for a fault that leaves nothing broken."""


#: Fault -> its relative frequency.
KINDS: dict[str, tuple[int, Callable[[Faults, Random], tuple[float, Undo] | None]]] = {
    "worker killed": (30, Faults.worker_killed),
    "worker paused": (14, Faults.worker_paused),
    "worker told to leave": (6, Faults.worker_told_to_leave),
    "API killed": (8, Faults.api_killed),
    "API paused": (4, Faults.api_paused),
    "broker killed": (5, Faults.broker_killed),
    "broker emptied": (5, Faults.broker_emptied),
    "broker stopped": (4, Faults.broker_stopped),
    "broker frozen": (4, Faults.broker_frozen),
    "message doubled": (6, Faults.message_doubled),
    "store away": (5, Faults.store_away),
    "store read-only": (6, Faults.store_read_only),
    "Docker errs": (9, Faults.docker_errs),
    "Docker cuts": (6, Faults.docker_cuts),
    "Docker delays": (6, Faults.docker_delays),
    "disk full": (5, Faults.disk_full),
    "container removed": (8, Faults.container_removed),
    "run removed": (4, Faults.run_removed),
    "sandbox killed": (6, Faults.sandbox_killed),
}
