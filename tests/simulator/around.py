"""What a simulated process is put into: its host's daemon, and what all processes share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.simulator.checker import Checker
from tests.simulator.daemon import Broker, Daemon
from tests.simulator.rows import Rows
from tests.simulator.story import Story


@dataclass(frozen=True)
class Around:
    """What a process is put into."""

    rows: Rows
    daemon: Daemon
    daemons: Sequence[Daemon]
    broker: Broker
    checker: Checker
    story: Story
