"""`ferryman validate`: a file with three problems, piped and on a terminal."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.standalone import FERRYMAN, environment, ferryman
from tests.support.terminal import run_on_terminal

BROKEN = """name: broken
image: ubuntu:mantic
cmd: [echo]
imagee: ubuntu
tags: [a]

timeout: 5 parsecs
mounts:
- {type: bind, source: /opt, target: /x}
"""


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    file = tmp_path / "broken.yaml"
    file.write_text(BROKEN)
    return file


def test_all_three_problems_are_named_with_place_and_remedy(broken: Path) -> None:
    done = ferryman("validate", str(broken), env=environment(broken.parent))
    assert done.returncode == 2 and done.stdout == ""
    first, *rest = done.stderr.splitlines()
    assert first == f"{broken}: 3 problems"
    assert re.match(r"  4:1 +imagee   unknown field; did you mean image\?$", rest[0])
    assert re.match(r'  7:\d+ +timeout   "5 parsecs" is not a duration: write 5s, 10m or 1h30m$', rest[1])
    assert re.match(
        r'  9:\d+ +mounts\[0\]\.source   "/opt" may not be mounted: it is not in FERRYMAN_BIND_SOURCES',
        rest[2],
    )
    assert len(rest) == 3 and "\x1b" not in done.stderr


def test_a_terminal_shows_each_line_with_a_caret_below(broken: Path) -> None:
    env = environment(broken.parent, TERM="xterm")
    status, screen = run_on_terminal([*FERRYMAN, "validate", str(broken)], env)
    lines = screen.splitlines()
    assert status == 2
    at = next(i for i, line in enumerate(lines) if line == "        timeout: 5 parsecs")
    assert re.match(r"        +\^$", lines[at + 1])
    assert (
        lines.count("        imagee: ubuntu") == 1
        and lines[lines.index("        imagee: ubuntu") + 1] == "        ^"
    )


def test_with_no_color_a_terminal_gets_the_output_of_a_pipe(broken: Path) -> None:
    env = environment(broken.parent, TERM="xterm", NO_COLOR="1")
    _, screen = run_on_terminal([*FERRYMAN, "validate", str(broken)], env)
    assert screen == ferryman("validate", str(broken), env=env).stderr


def test_a_good_file_a_missing_file_and_json(broken: Path, tmp_path: Path) -> None:
    env = environment(tmp_path)
    good = tmp_path / "good.yaml"
    good.write_text("name: x\nimage: busybox:1.36\n")
    assert ferryman("validate", str(good), env=env).stdout == f"{good}: ok\n"
    missing = ferryman("validate", "nowhere.yaml", env=env)
    assert missing.returncode == 2 and missing.stderr == "nowhere.yaml: no such file or directory\n"
    report = json.loads(ferryman("validate", "--json", str(broken), str(good), env=env).stdout)
    assert [p["path"] for p in report[str(broken)]] == ["imagee", "timeout", "mounts[0].source"]
    assert report[str(good)] == []


def test_host_access_is_read_from_the_environment(broken: Path) -> None:
    env = environment(broken.parent, FERRYMAN_BIND_SOURCES="/opt")
    assert f"{broken}: 2 problems" in ferryman("validate", str(broken), env=env).stderr
