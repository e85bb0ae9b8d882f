"""Surroundings of a simulated process: the host's daemon, and what all processes share."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.simulator.checker import Checker
from tests.simulator.daemon import Broker, Daemon
from tests.simulator.sim_rows import Rows
from tests.simulator.story import Story

#: By then the faults stop.
FAULTY_STEPS = 500


@dataclass(frozen=True)
class Around:
    """Surroundings of a simulated process."""

    rows: Rows
    daemon: Daemon
    daemons: Sequence[Daemon]
    broker: Broker
    checker: Checker
    story: Story
    chance: random.Random

    def stalls(self, often: float = 0.1) -> Iterator[None]:
        """Pause between reading and acting: mostly one turn, and sometimes many while there are faults."""
        yield
        if self.story.step < FAULTY_STEPS and self.chance.random() < often:
            for _ in range(self.chance.randint(5, 25)):
                yield
