"""Docker and Redis, simulated as measured: a daemon's containers and volumes, and a broker's queues.

An exited container runs again when it is started. A name is used once. A removal without force refuses a running
container. A volume in use is not removed. A container created over a missing volume makes it again, without labels.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from engine.errors import Gone, MachineFault, RuntimeUnavailable
from engine.model.records import Token
from engine.runtime.base import Order, Resource

_FOR_EVER = 1_000_000
_OFTEN_REFUSED = 0.08


@dataclass
class Volume:
    """Volume. `order` is in the labels; None: Docker made the volume in place of a missing one."""

    serial: int
    order: Order | None
    #: For the checker: who asked for a volume of this name.
    users: list[Order] = field(default_factory=list)


@dataclass
class Container:
    """Container as Docker has it. `left` is the number of ticks that it still runs."""

    id: str
    order: Order
    left: int
    code: int
    volumes: tuple[Volume, ...] = ()
    state: str = "created"
    unstartable: bool = False
    #: For the checker: how often it began to run, and at which of the daemon's moments it began and ended.
    starts: int = 0
    began: int | None = None
    ended: int | None = None


class Daemon:
    """Docker daemon. `past` keeps every container that it ever had."""

    def __init__(
        self, name: str, chance: random.Random, started: Callable[[Daemon, Container], None]
    ) -> None:
        self.name = name
        self.silent = False
        #: Draws which creates and starts are answered by an error, done or not; None: none is.
        self.refusals: random.Random | None = None
        self.containers: dict[str, Container] = {}
        self.volumes: dict[str, Volume] = {}
        self.past: list[Container] = []
        self._chance = chance
        self._started = started
        self._ids = itertools.count()
        self._moments = itertools.count()

    def answer(self) -> None:
        """Fail when the daemon does not answer; every call begins with this."""
        if self.silent:
            raise RuntimeUnavailable(self.name)

    def list(self) -> list[Resource]:
        """Return all resources of the installation, volumes too."""
        self.answer()
        return [_thing(one) for one in self.containers.values()] + [
            Resource("volume", name, name, one.order.run)
            for name, one in self.volumes.items()
            if one.order is not None
        ]

    def named(self, name: str) -> Container | None:
        """Return the container of this name."""
        self.answer()
        return next((one for one in self.containers.values() if one.order.name == name), None)

    def make_volumes(self, order: Order) -> None:
        """Create volumes with labels; existing ones stay unchanged."""
        self.answer()
        for name, _ in order.volumes:
            self.volumes.setdefault(name, Volume(next(self._ids), order)).users.append(order)

    def create(self, order: Order, *, fails: bool, hangs: bool) -> Container | None:
        """Create a container; return None when the name is taken (409)."""
        if self.named(order.name) is not None:
            return None
        used = tuple(
            self.volumes.setdefault(name, Volume(next(self._ids), None)) for name, _ in order.volumes
        )
        id = f"{self.name}-{next(self._ids)}"
        ticks = self._chance.randint(1, self._chance.choice((10, 25, 80)))
        made = Container(id, order, _FOR_EVER if hangs else ticks, int(fails), used)
        refuses = self._refuses()
        if not refuses or self._is_done_anyway():
            self.containers[made.id] = made
            self.past.append(made)
        if refuses:
            raise MachineFault(f"{self.name} refuses to create {made.id}")
        return made

    def _refuses(self) -> bool:
        return self.refusals is not None and self.refusals.random() < _OFTEN_REFUSED

    def _is_done_anyway(self) -> bool:
        return self.refusals is not None and self.refusals.random() < 0.5

    def pull(self) -> int:
        """Return the number of turns that the next image takes; mostly it is there."""
        return self._chance.choice((0, 0, 0, 2, 6))

    def start(self, id: str) -> None:
        """Start a container without a precondition: an exited one runs again."""
        self.answer()
        if id not in self.containers:
            raise Gone(id)
        one = self.containers[id]
        if one.unstartable or one.state == "running":
            return
        refuses = self._refuses()
        if refuses and not self._is_done_anyway():
            raise MachineFault(f"{self.name} refuses to start {id}")
        one.state, one.starts, one.left = "running", one.starts + 1, max(one.left, 1)
        one.began = next(self._moments)
        self._started(self, one)
        if refuses:
            raise MachineFault(f"{self.name} refuses to start {id}, and has started it")

    def kill(self, one: Container) -> None:
        """End a container at once, by SIGKILL."""
        if one.state == "running":
            one.code = 137
            self._end(one)

    def _end(self, one: Container) -> None:
        one.state, one.ended = "exited", next(self._moments)

    def remove(self, things: Iterable[Resource]) -> None:
        """Remove by force: containers by id or name, and volumes that nothing uses any more."""
        self.answer()
        wanted = list(things)
        ids = {thing.id for thing in wanted if thing.kind == "container"}
        for id in [id for id, one in self.containers.items() if ids & {id, one.order.name}]:
            self.kill(self.containers.pop(id))
        for thing in wanted:
            if thing.kind == "volume":
                self.remove_volume(thing.id)

    def users(self, name: str) -> list[Order]:
        """Return the orders that asked for this volume, unless a container keeps it from being removed."""
        return [] if self._is_used(name) or name not in self.volumes else self.volumes[name].users

    def _is_used(self, name: str) -> bool:
        return any(name in dict(one.order.volumes) for one in self.containers.values())

    def remove_volume(self, name: str) -> bool:
        """Remove a volume that no container uses; return True when it is gone now."""
        if self._is_used(name):
            return False
        return self.volumes.pop(name, None) is not None

    def remove_plainly(self, id: str) -> None:
        """Remove a container without force, which refuses a running one."""
        self.answer()
        if id in self.containers and self.containers[id].state != "running":
            del self.containers[id]

    def tick(self) -> None:
        """Let containers run on, whether anybody looks or not."""
        for one in self.containers.values():
            if one.state == "running":
                one.left -= 1
                if one.left <= 0:
                    self._end(one)


def _thing(one: Container) -> Resource:
    order = one.order
    return Resource("container", one.id, order.name, order.run, order.index, one.state)


@dataclass
class Broker:
    """Queues of messages. `emptied` is True when the marker key is gone."""

    queues: dict[str, list[tuple[Token, int]]] = field(default_factory=dict)
    emptied: bool = False

    def send(self, queue: str, token: Token, index: int) -> None:
        """Add a message."""
        self.queues.setdefault(queue, []).append((token, index))

    def take(self, queue: str) -> tuple[Token, int] | None:
        """Take the oldest message."""
        waiting = self.queues.get(queue)
        return waiting.pop(0) if waiting else None
