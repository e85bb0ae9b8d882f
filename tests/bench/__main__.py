"""Command line of the bench: `python -m tests.bench [ROW…] [--n 10] [--json FILE] [--database …] [--sandbox …]`."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.bench import containers, expressions, files, hostile, idle, logs, machine, noops, posts
from tests.bench.figures import Row, as_text
from tests.bench.ground import IMAGE, Ground
from tests.support.databases import running_postgres
from tests.support.docker_daemon import provide
from tests.support.redis_server import RedisServer

ROWS: dict[str, Callable[[Ground], Row]] = {
    "one": containers.one,
    "back-to-back": containers.row_of_five,
    "chain": containers.chain,
    "singles": containers.singles,
    "chains": containers.chains,
    "noops": noops.noops,
    "steps": noops.steps,
    "posts": posts.posts,
    "idle": idle.idle,
    "logs": logs.logs,
    "long-logs": logs.long_logs,
    "log-cpu": logs.log_cpu,
    "chatty": logs.chatty,
    "files": files.files,
    "expr": expressions.expr,
    "hostile": hostile.hostile,
}
#: Figures are not worth keeping when others use more than this share of the processors.
_QUIET = 0.2


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Speed beside its anchors.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; none: all")
    parser.add_argument("--n", type=int, default=10, help="rounds of each row (10)")
    parser.add_argument("--json", type=Path, help="write all values to this file")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--sandbox", choices=("pod", "slot", "none"), default="pod", help="of attempts (pod)")
    asked = parser.parse_args()
    if unknown := [name for name in asked.rows if name not in ROWS]:
        parser.error(f"no row {unknown[0]!r}: there are {', '.join(ROWS)}")
    if asked.n < 1:
        parser.error("--n: at least 1")
    return asked


def main() -> None:
    """Measure the rows one after another, and print each as soon as it is measured."""
    asked = _asked()
    provide([IMAGE])
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ferryman-bench-")))
        redis = RedisServer(home / "redis")
        stack.callback(redis.stop)
        # With the options of the stand-alone's broker.
        redis.client.config_set("appendfsync", "everysec")
        postgres = stack.enter_context(running_postgres()) if asked.database == "postgresql" else None
        about = machine.about(redis, postgres.url("migrated") if postgres else "sqlite://")
        about["sandbox"] = asked.sandbox
        for key, value in about.items():
            print(f"{key}: {value}")
        rows = []
        for name in asked.rows or ROWS:
            others, before, began = machine.busy(), machine.load(), time.monotonic()
            ground = Ground(home, redis, postgres.new() if postgres else "", asked.n, asked.sandbox)
            row = ROWS[name](ground)
            took = time.monotonic() - began
            loads = f"load {before:.2f} before, {machine.load():.2f} after"
            row.notes.append(f"others took {others:.0%} before it began; {loads}; {took:.0f} s")
            if others > _QUIET:
                row.notes.append("the machine was not quiet: do not keep these figures")
            print(f"\n{as_text(row)}", flush=True)
            rows.append(row.as_json())
    if asked.json:
        asked.json.write_text(json.dumps({"about": about, "n": asked.n, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
