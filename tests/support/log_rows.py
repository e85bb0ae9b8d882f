"""Chunks of a log, written as a worker's log writer does."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from engine.model.records import LogPosition, Token
from engine.store import logs


def append(
    c: sa.Connection,
    token: Token,
    origin: int,
    link: int,
    pieces: Sequence[logs.Piece],
    position: LogPosition,
    limit: int,
) -> bool:
    """Add pieces as the task's next chunk; return False when they are refused."""
    bounds, next_seq = logs.Bounds(limit, window_ms=0), logs.next_chunk(c, token.task_id)
    return logs.append(c, token, origin, link, pieces, position, bounds, next_seq) is not None
