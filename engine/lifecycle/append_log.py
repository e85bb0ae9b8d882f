"""append_log: a link's output becomes part of the stored log, under the token."""

from __future__ import annotations

from collections.abc import Sequence

from engine.lifecycle.assignment import Assignment
from engine.lifecycle.installation import Installation
from engine.model.records import LogPosition
from engine.store import logs


def append_log(
    installation: Installation, assignment: Assignment, pieces: Sequence[logs.Piece], position: LogPosition
) -> bool:
    """Store pieces of the link's log and the position up to which the container's log was read.

    Return False, with nothing written, when the task is not RUNNING under this token: another delivery reads the
    container's log from the stored position.
    """
    order, limit_bytes = assignment.order, installation.settings.runtime.log_bytes
    with installation.db.begin() as c:
        return logs.append(c, assignment.token, order.run.origin, order.index, pieces, position, limit_bytes)
