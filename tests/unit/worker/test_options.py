"""Options of Celery's worker command and its control commands: all are in the table of docs/operating.rst."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from celery.bin.worker import worker
from celery.worker.control import Panel

from engine.dispatch import control
from engine.errors import SettingsError
from engine.worker.options import check, check_queues

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "operating.rst").read_text(encoding="utf-8")


def test_each_option_of_celerys_worker_is_in_the_table() -> None:
    options = {max(option.opts, key=len) for option in worker.params} - {
        "--events",
        "--discard",
        "--schedule",
    }
    missing = [option for option in sorted(options) if f"``{option}``" not in PAGE]
    # click takes the longest of several names.
    assert missing in ([], ["--help"]), missing


def test_each_control_command_is_named() -> None:
    commands = {name for name, about in Panel.meta.items() if about.type == "control"}
    missing = [name for name in sorted(commands) if not re.search(rf"\b{name}\b", PAGE)]
    assert not missing, missing
    assert set(control.REFUSED) <= commands


def test_the_defaults_of_the_command_line_are_accepted() -> None:
    check({"prefetch_multiplier": 1, "optimization": "default", "beat": False, "autoscale": None}, "threads")
    check_queues(["default", "a-b.c_d"])


@pytest.mark.parametrize("name", ["a b", " b", "!0123456789abcdef", "", "x" * 65, "ä"])
def test_a_queue_that_no_task_can_name_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=r"-Q: .*separate queues by a comma alone"):
        check_queues([name])
