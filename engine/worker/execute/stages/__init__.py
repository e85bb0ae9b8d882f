"""Stages around the run of a link: work before its container exists and after it ended, a file for each concern."""

from engine.worker.execute.stages.base import Stage
from engine.worker.execute.stages.log import StoredLog
from engine.worker.execute.stages.output import OutputLimit
from engine.worker.execute.stages.removal import Removal
from engine.worker.execute.stages.sandbox import ReservedSandbox
from engine.worker.execute.stages.time_limit import TimeLimit
from engine.worker.execute.stages.timings import RecordedTimings

#: In the order in which their `before` is called.
STAGES: tuple[type[Stage], ...] = (
    TimeLimit,
    StoredLog,
    OutputLimit,
    ReservedSandbox,
    RecordedTimings,
    Removal,
)
