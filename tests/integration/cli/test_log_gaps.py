"""`ferryman logs` of a log that exceeds its limit: piped, on a terminal, followed."""

from __future__ import annotations

import os
from pathlib import Path

from engine.model.records import LogPosition
from engine.store import logs
from tests.support import log_rows
from tests.support.stage import NODE, staged
from tests.support.standalone import FERRYMAN, environment, ferryman
from tests.support.terminal import run_on_terminal

NOTE = "Log gap: 40 bytes of the log are missing in all (bound: FERRYMAN_LOG_BYTES)\n"


def test_logs_note_their_gaps(tmp_path: Path) -> None:
    with staged(str(tmp_path)) as stage:
        stage.live(NODE, "celery@host-a")
        link = stage.claim(stage.submit(), NODE)
        container = stage.start(link)
        for text in ["ten bytes\n", "begun at a", *(["ten bytes\n"] * 6)]:
            with stage.db.begin() as c:
                frames, order = [(1, "2026-01-02T03:04:05.123456789Z", text)], link.order
                assert log_rows.append(
                    c, link.token, order.run.origin, order.index, [logs.piece(frames)], LogPosition(), 40
                )
        stage.end(link, container)
        env = environment(tmp_path, FERRYMAN_API_URL=stage.url, PYTHONPATH=os.environ.get("PYTHONPATH", ""))
        words = ["logs", link.token.task_id]
        whole = f"ten bytes\nbegun at a\n[ferryman] {NOTE}ten bytes\nten bytes\n"
        for more in ([], ["-f"], ["--tail", "3"]):
            done = ferryman(*words, *more, env=env)
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout == (whole if "--tail" not in more else whole.removeprefix("ten bytes\n"))
        shown = whole.replace("[ferryman] ", "")
        assert run_on_terminal([*FERRYMAN, *words, "-f"], env) == (0, shown)
