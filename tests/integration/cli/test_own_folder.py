"""Commands in a folder with packages of its own that have the names of ours."""

from __future__ import annotations

import subprocess
import urllib.request
from pathlib import Path

from tests.support.databases import free_port
from tests.support.standalone import FERRYMAN, environment
from tests.support.waiting import wait_until


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_the_api_serves_in_a_folder_with_an_api_and_an_engine(tmp_path: Path) -> None:
    for name in ("api", "engine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('this is not Ferryman')")
    port, log = free_port(), tmp_path / "log"
    env = environment(tmp_path, FERRYMAN_DATA_DIR="data", FERRYMAN_BROKER_URL="redis://127.0.0.1:1/0")
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*FERRYMAN, "api", "--port", str(port)], env=env, cwd=tmp_path, stdout=out, stderr=out
        )
    try:
        wait_until(lambda: process.poll() is not None or _answers(f"http://127.0.0.1:{port}/ready"), 40, 0.1)
        assert process.poll() is None, log.read_text()
        assert (tmp_path / "data" / "ferryman.db").exists(), "a relative data directory is where the user is"
    finally:
        process.kill()
        process.wait(10)
