"""The embedded broker in data directories with characters that its configuration treats as its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from engine.standalone import broker
from tests.support.waiting import wait_until


@pytest.mark.parametrize("name", ['a"b', "a b", "a\\b", "a\\x41b", "a'b", "ü", "a#b", "\\", '"'])
def test_the_broker_starts_in_it(tmp_path: Path, name: str) -> None:
    prepared = broker.prepare(tmp_path / name)
    process = subprocess.Popen(prepared.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: process.poll() is not None or broker.is_ready(prepared.url), 20)
        assert process.poll() is None, process.communicate(timeout=5)[0]
        assert (prepared.directory / "appendonlydir").is_dir()
    finally:
        process.kill()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()
