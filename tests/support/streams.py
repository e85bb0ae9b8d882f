"""Parser of server-sent events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Message:
    """Message of a stream."""

    event: str
    id: str | None
    data: dict[str, Any]


def messages(pieces: Iterable[bytes]) -> Iterator[Message]:
    """Yield the messages in these bytes as they arrive, without comments and the opening."""
    waiting = b""
    for piece in pieces:
        waiting += piece
        while b"\n\n" in waiting:
            block, waiting = waiting.split(b"\n\n", 1)
            fields = dict(
                line.split(": ", 1) for line in block.decode().splitlines() if not line.startswith(":")
            )
            if "data" in fields:
                yield Message(fields.get("event", "message"), fields.get("id"), json.loads(fields["data"]))
